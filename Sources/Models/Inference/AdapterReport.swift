// How one adapter stands in an engine, for people who look.

package struct AdapterReport: Hashable, Sendable {
    package enum State: String, Hashable, Sendable {
        case absent
        /// Asked for; there is no room yet, or others are being read first.
        case waiting
        case loading
        case resident
    }

    package var state: State
    /// Of its weights: what was said before they were read, what they are from then on.
    package var bytes: Int
    /// Sequences that use it, and requests that wait for it.
    package var running: Int
    package var waiting: Int
    package var isPinned: Bool
}

extension Engine {
    /// nil for a name that is not known.
    package func report(adapter name: String) -> AdapterReport? {
        guard let entry = try? adapters.entry(name) else { return nil }
        let state: AdapterReport.State =
            switch entry.state {
            case .absent: .absent
            case .wanted: .waiting
            case .loading: .loading
            case .resident: .resident
            }
        return AdapterReport(
            state: state, bytes: entry.bytes, running: entry.users, waiting: entry.waiting.count,
            isPinned: entry.isPinned)
    }
}
