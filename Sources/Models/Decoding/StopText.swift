// Holds text back while it may be the beginning of a stop string.

package struct StopText {
    private let stops: [[UInt8]]
    private var held: [UInt8] = []

    package init(_ stops: [String]) { self.stops = stops.map { Array($0.utf8) }.filter { !$0.isEmpty } }

    /// The text that may be shown, and whether a stop string ended it.
    package mutating func add(_ text: String) -> (text: String, stopped: Bool) {
        guard !stops.isEmpty else { return (text, false) }
        held += text.utf8
        for start in held.indices {
            if stops.contains(where: { held[start...].starts(with: $0) }) {
                let shown = String(decoding: held[..<start], as: UTF8.self)
                held.removeAll()
                return (shown, true)
            }
        }
        // Keep the longest tail that begins a stop string.
        let start = held.indices.first { start in
            stops.contains { $0.count > held.count - start && $0.starts(with: held[start...]) }
        }
        let cut = start ?? held.count
        let shown = String(decoding: held[..<cut], as: UTF8.self)
        held.removeFirst(cut)
        return (shown, false)
    }

    package mutating func finish() -> String {
        defer { held.removeAll() }
        return String(decoding: held, as: UTF8.self)
    }
}
