// One adapter as the store knows it, and what the store asks its caller to do for one. AdapterStore draws the states and is
// the only one that changes them.

package import Primitives

/// Work for the caller, off the engine's thread. `loaded` or `failed` answers it, once.
package struct AdapterLoad: Sendable {
    package enum Work: Sendable {
        /// Read the folder of that adapter.
        case read(name: String, cid: CID?)
        /// Compute `FusedAdapter.make()`.
        case fuse(FusedAdapter)
    }

    package let serial: UInt64
    package let work: Work
}

final class AdapterEntry {
    enum State {
        case absent
        case wanted
        case loading
        case resident(LoadedAdapter)
    }

    let serial: UInt64
    let name: String
    let cid: CID?
    let fusion: AdapterFusion?
    let parts: [AdapterEntry]
    var state = State.absent
    /// Of its weights: what was said before they were read, what they are from then on.
    var bytes: Int
    /// Running sequences, and fusions that are being made of it.
    var users = 0
    /// Waiting requests, oldest first.
    var waiting: [SequenceID] = []
    var isPinned = false
    /// Nobody could load it again.
    var isHandedIn = false
    var lastUsed: UInt64 = 0
    /// Its place goes to an older request: younger ones than that no longer begin with it.
    var drainsFor: SequenceID?
    /// A fusion that holds its parts while it is being made.
    var holdsParts = false

    init(
        serial: UInt64, name: String, cid: CID?, bytes: Int, fusion: AdapterFusion? = nil, parts: [AdapterEntry] = []
    ) {
        self.serial = serial
        self.name = name
        self.cid = cid
        self.bytes = bytes
        self.fusion = fusion
        self.parts = parts
    }

    var adapter: LoadedAdapter? {
        if case .resident(let adapter) = state { adapter } else { nil }
    }

    /// Whether that request could begin now.
    func isReady(for id: SequenceID) -> Bool { adapter != nil && drainsFor.map { id < $0 } ?? true }

    var isLoading: Bool {
        if case .loading = state { true } else { false }
    }

    var isAbsent: Bool {
        if case .absent = state { true } else { false }
    }
}
