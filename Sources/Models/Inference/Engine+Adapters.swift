// The engine's door for adapters. Those that are declared are read when a request first asks for them:
//
//     for load in engine.takeLoads() {                   // before each step, on the engine's thread
//         somewhere { adapter = try load.work … }        // off it
//         engine.loaded(load, adapter) or engine.failed(load, reason)
//     }

package import Primitives

extension Engine {
    /// Known by name, ascending.
    package var adapterNames: [String] { adapters.names }

    /// Makes an adapter known whose weights are read when they are needed and put out when others need the room.
    /// - Parameter bytes: the most that its weights take in memory; the size of its file will do.
    package func declare(_ name: String, cid: CID? = nil, bytes: Int) throws(EngineFault) {
        try adapters.declare(name, cid: cid, bytes: bytes)
    }

    /// Hands in an adapter that nobody can load again: it stays until it is unregistered.
    package func register(_ adapter: LoadedAdapter, as name: String) throws(EngineFault) {
        guard adapter.updates.count == model.config.layers else {
            throw .parameter(name: "adapter \"\(name)\"", reason: "was loaded for another model")
        }
        try adapters.handIn(name, adapter)
    }

    /// Sequences that run or wait keep the adapter that they began with.
    package func unregister(_ name: String) { adapters.remove(name) }

    /// Loads an adapter and keeps it until it is unpinned.
    package func pin(adapter name: String) throws(EngineFault) { try adapters.pin(name) }
    package func unpin(adapter name: String) { adapters.unpin(name) }
    package func isResident(adapter name: String) -> Bool { adapters.isResident(name) }
    package func isPinned(adapter name: String) -> Bool { adapters.isPinned(name) }

    /// What the caller has to load; each is given once, and answered once.
    package func takeLoads() -> [AdapterLoad] {
        adapters.begin()
        return adapters.hasLoads ? adapters.takeLoads() : []
    }

    package func loaded(_ load: AdapterLoad, _ adapter: LoadedAdapter) {
        guard adapter.updates.count == model.config.layers else {
            return failed(load, reason: "it was loaded for another model")
        }
        for id in adapters.loaded(load.serial, adapter) {
            failures.append(
                (
                    id,
                    .adapterFailed(
                        "it takes \(adapter.weightBytes) bytes; this peer gives adapters \(limits.adapterBytesMax)")
                ))
        }
    }

    package func failed(_ load: AdapterLoad, reason: String) {
        for id in adapters.failed(load.serial) { failures.append((id, .adapterFailed(reason))) }
    }
}

extension AdapterStore {
    func describe(_ statistics: inout EngineStatistics) {
        statistics.adaptersKnown = knownCount
        statistics.adaptersResident = residentCount
        statistics.adapterBytes = bytes
        statistics.adaptersLoading = loading
        statistics.adapterLoads = loadCount
        statistics.adapterLoadFailures = failureCount
        statistics.adapterHits = hitCount
        statistics.adapterMisses = missCount
        statistics.adapterEvictions = evictionCount
    }
}
