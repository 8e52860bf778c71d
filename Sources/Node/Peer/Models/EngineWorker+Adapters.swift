// What an engine's thread does about adapters: makes the engine know them, has them read beside it, and does what people
// want of them.

import Arithmetic
import Dispatch
import Foundation
import Inference
import ModelFiles
import Primitives
import Records

extension EngineWorker {
    func read(_ load: AdapterLoad, _ desk: Desk) {
        let config = desk.engine.model.config, room = limits.adapterBytesMax - desk.engine.statistics.adapterBytes
        reading.async { [weak self, shelf, precision = key.precision] in
            let result: Result<LoadedAdapter, LoadFault>
            // Its files are let go of when nobody waits any more.
            var folder: (any ModelFolder)?
            let start = ContinuousClock.now
            do {
                result = .success(
                    try Self.adapter(load, shelf: shelf, config: config, precision: precision, &folder))
            } catch {
                result = .failure(LoadFault(reason: "\(error)"))
            }
            EngineMetrics.adapterLoaded(in: ContinuousClock.now - start)
            guard let self else { return }
            condition.withLock {
                mailbox.loads.append((load, result))
                condition.signal()
            }
            withExtendedLifetime(folder) {}
            // For the next one, where the budget has room for it; where it has none, that takes the place of another, and its memory.
            if case .success(let adapter) = result, adapter.weightBytes <= room {
                LargePages.adapters.prepare(adapter.weightBytes)
            }
        }
    }

    private static func adapter(
        _ load: AdapterLoad, shelf: ModelShelf, config: ModelConfig, precision: Precision,
        _ folder: inout (any ModelFolder)?
    ) throws -> LoadedAdapter {
        switch load.work {
        case .fuse(let fused): return try CoreLoan.take { try fused.make() }
        case .read(let name, let cid):
            guard let cid else { throw LoadFault(reason: "\(name) has no CID") }
            let files = try shelf.folder(cid)
            folder = files
            // Before the core is lent: who waits for a disk needs none.
            files.populate()
            return try CoreLoan.take {
                try LoadedAdapter(
                    folder: files, config: config, precision: precision, memory: LargePages.adapters)
            }
        }
    }

    func settle(_ load: AdapterLoad, _ result: Result<LoadedAdapter, LoadFault>, _ desk: inout Desk) {
        defer {
            if case .read(let name, let cid?) = load.work {
                var fault: String?
                if case .failure(let reason) = result { fault = reason.reason }
                book.loaded(cid, fault: fault)
                if desk.passing.remove(cid) != nil { desk.engine.unpin(adapter: name) }
            }
        }
        switch result {
        case .success(let adapter): desk.engine.loaded(load, adapter)
        case .failure(let fault): desk.engine.failed(load, reason: fault.reason)
        }
    }

    /// Makes the engine know an adapter of its model.
    func declare(_ adapter: CID, _ desk: inout Desk) throws(JobFault) {
        do throws(ShelfFault) {
            guard let entry = shelf.entry(adapter), entry.kind == .adapter else { throw .unknown(adapter) }
            guard entry.folder.base == key.model else {
                throw .file(name: entry.name, reason: "is an adapter of another model")
            }
            guard !desk.adapters.contains(adapter) else { return }
            do throws(EngineFault) {
                try desk.engine.declare(adapter.text, cid: adapter, bytes: Int(clamping: entry.bytes))
            } catch {
                throw .file(name: entry.name, reason: error.description)
            }
            let bytes = Int(clamping: entry.bytes)
            if desk.adapters.isEmpty, bytes <= limits.adapterBytesMax {
                reading.async { LargePages.adapters.prepare(bytes) }
            }
            desk.adapters.insert(adapter)
        } catch {
            if desk.adapters.remove(adapter) != nil { desk.engine.unregister(adapter.text) }
            throw JobFault(error, code: "adapter")
        }
    }

    /// Pins outlive the engine that they were made in.
    func keepPinned(_ desk: inout Desk) {
        for cid in book.pins where shelf.entry(cid)?.folder.base == key.model {
            guard (try? declare(cid, &desk)) != nil else { continue }
            try? desk.engine.pin(adapter: cid.text)
        }
    }

    func perform(_ order: AdapterOrder, _ desk: inout Desk) {
        var asked: [CID] = []
        do throws(JobFault) {
            switch order.action {
            case .look(let cids): asked = cids
            case .load(let cid), .pin(let cid):
                asked = [cid]
                try declare(cid, &desk)
                let wasPinned = desk.engine.isPinned(adapter: cid.text)
                do throws(EngineFault) { try desk.engine.pin(adapter: cid.text) } catch { throw JobFault(error) }
                if case .pin = order.action {
                    desk.passing.remove(cid)
                } else if !wasPinned {
                    if desk.engine.isResident(adapter: cid.text) {
                        desk.engine.unpin(adapter: cid.text)
                    } else {
                        desk.passing.insert(cid)
                    }
                }
            case .unpin(let cid):
                asked = [cid]
                desk.engine.unpin(adapter: cid.text)
            case .unload(let cid):
                asked = [cid]
                desk.passing.remove(cid)
                if desk.adapters.remove(cid) != nil { desk.engine.unregister(cid.text) }
            }
        } catch {
            return order.reply(.failure(error))
        }
        var reports: [CID: AdapterReport] = [:]
        for cid in asked { reports[cid] = desk.engine.report(adapter: cid.text) }
        order.reply(.success(reports))
    }
}
