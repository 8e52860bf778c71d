// A compiled grammar: rules, each a small automaton over bytes whose edges read a byte or call a rule. It is what the
// recogniser runs; it never changes and is shared by all sequences of a request.
//
//     node --byte range--> node        read one byte
//     node --rule--> node              read what the rule reads, then go on there
//     node is final                    its rule may end here
//
// Whatever reads nothing has been worked out beforehand: there are no empty edges, a call of a rule that may be empty is
// also a way past it, and no rule begins with itself. Every node that is left can reach the end of its rule.

package struct GrammarFault: Error, Hashable, CustomStringConvertible {
    /// A JSON pointer into the schema, or line and column of the grammar.
    package let place: String
    package let reason: String

    package var description: String { place.isEmpty ? reason : "at \(place): \(reason)" }
}

package enum GrammarLimit {
    package static let sourceBytesMax = 256 << 10
    package static let schemaDepthMax = 64
    package static let schemaValuesMax = 20_000
    package static let rulesMax = 20_000
    package static let nodesMax = 400_000
    package static let edgesMax = 1_500_000
    /// Copies that one repetition such as {m,n} may be unrolled to.
    package static let repetitionsMax = 10_000
    /// Values of all enumerations of a schema together.
    package static let enumerationMax = 5_000
    /// How deep rules may call one another while text is read.
    package static let callDepthMax = 200
}

package final class Grammar: Sendable {
    struct Edge: Hashable, Sendable {
        let low: UInt8
        let high: UInt8
        let target: Int32
    }

    struct Call: Hashable, Sendable {
        let rule: Int32
        /// Where to go on after it.
        let next: Int32
    }

    let edgeStart: [Int32]
    let edges: [Edge]
    let callStart: [Int32]
    let calls: [Call]
    let isFinal: [Bool]
    /// Calls still needed, one inside the other, to reach the end of the rule from a node.
    let height: [UInt16]
    /// Nodes that take most bytes: their masks are worth keeping.
    let isWide: [Bool]
    /// A node of a counted repetition acts for `room` more bytes as its copy `stride` further on does for one less.
    let room: [Int32]
    let stride: [Int32]
    let ruleStart: [Int32]
    /// A rule comes after all rules that may call it before reading anything.
    let ruleRank: [Int32]
    /// Bytes that no edge tells apart have one class.
    let byteClass: [UInt8]
    let classByte: [UInt8]
    let root: Int32

    var nodeCount: Int { isFinal.count }
    var classCount: Int { classByte.count }

    init(
        edgeStart: [Int32], edges: [Edge], callStart: [Int32], calls: [Call], isFinal: [Bool], height: [UInt16],
        room: [Int32], stride: [Int32], ruleStart: [Int32], ruleRank: [Int32], root: Int32
    ) {
        self.edgeStart = edgeStart
        self.edges = edges
        self.callStart = callStart
        self.calls = calls
        self.isFinal = isFinal
        self.height = height
        self.room = room
        self.stride = stride
        self.ruleStart = ruleStart
        self.ruleRank = ruleRank
        self.root = root
        isWide = isFinal.indices.map { node in
            var taken = 0
            for edge in edges[Int(edgeStart[node])..<Int(edgeStart[node + 1])] {
                taken += Int(edge.high) - Int(edge.low) + 1
            }
            return taken >= 64
        }
        var cuts = [Bool](repeating: false, count: 257)
        cuts[0] = true
        for edge in edges {
            cuts[Int(edge.low)] = true
            cuts[Int(edge.high) + 1] = true
        }
        var byteClass: [UInt8] = [], classByte: [UInt8] = []
        for byte in 0..<256 {
            if cuts[byte] { classByte.append(UInt8(byte)) }
            byteClass.append(UInt8(truncatingIfNeeded: classByte.count - 1))
        }
        self.byteClass = byteClass
        self.classByte = classByte
    }
}
