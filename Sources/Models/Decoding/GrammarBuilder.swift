// Rules under construction, empty edges allowed. `finish` turns them into a `Grammar` or says what is wrong with them.

struct GrammarBuilder {
    typealias Node = Int32
    typealias Rule = Int32

    struct State {
        var edges: [Grammar.Edge] = []
        var calls: [Grammar.Call] = []
        var empty: [Node] = []
        /// See `Grammar.room`.
        var room: Int32 = 0
        var stride: Int32 = 0
    }

    struct RuleEnds {
        let name: String
        /// Where the source declares it.
        let place: String
        let start: Node
        let end: Node
    }

    private(set) var states: [State] = []
    private(set) var rules: [RuleEnds] = []
    private(set) var edgeCount = 0
    /// Named in faults about size.
    var place = ""

    // MARK: Building

    mutating func node() throws(GrammarFault) -> Node {
        guard states.count < GrammarLimit.nodesMax else {
            throw GrammarFault(
                place: place,
                reason:
                    "is too large to compile (more than \(GrammarLimit.nodesMax) states); lower the lengths or counts")
        }
        states.append(State())
        return Node(truncatingIfNeeded: states.count - 1)
    }

    private mutating func count(_ edges: Int = 1) throws(GrammarFault) {
        edgeCount += edges
        guard edgeCount <= GrammarLimit.edgesMax else {
            throw GrammarFault(
                place: place, reason: "is too large to compile (more than \(GrammarLimit.edgesMax) transitions)")
        }
    }

    mutating func rule(_ name: String, place: String) throws(GrammarFault) -> Rule {
        guard rules.count < GrammarLimit.rulesMax else {
            throw GrammarFault(place: place, reason: "is one rule too many: \(GrammarLimit.rulesMax) are taken")
        }
        let start = try node(), end = try node()
        rules.append(RuleEnds(name: name, place: place, start: start, end: end))
        return Rule(truncatingIfNeeded: rules.count - 1)
    }

    func start(_ rule: Rule) -> Node { rules[Int(rule)].start }
    func end(_ rule: Rule) -> Node { rules[Int(rule)].end }

    mutating func edge(_ from: Node, _ bytes: ClosedRange<UInt8>, _ to: Node) throws(GrammarFault) {
        try count()
        states[Int(from)].edges.append(Grammar.Edge(low: bytes.lowerBound, high: bytes.upperBound, target: to))
    }

    mutating func skip(_ from: Node, _ to: Node) throws(GrammarFault) {
        guard from != to else { return }
        try count()
        states[Int(from)].empty.append(to)
    }

    mutating func call(_ from: Node, _ rule: Rule, _ to: Node) throws(GrammarFault) {
        try count()
        states[Int(from)].calls.append(Grammar.Call(rule: rule, next: to))
    }

    mutating func setCopies(_ node: Node, room: Int, stride: Int) {
        states[Int(node)].room = Int32(clamping: room)
        states[Int(node)].stride = Int32(clamping: stride)
    }

    /// Reads just these bytes; answers where that ends.
    mutating func literal(_ from: Node, _ bytes: some Sequence<UInt8>) throws(GrammarFault) -> Node {
        var at = from
        for byte in bytes {
            let next = try node()
            try edge(at, byte...byte, next)
            at = next
        }
        return at
    }

    mutating func literal(_ from: Node, _ bytes: some Collection<UInt8>, to: Node) throws(GrammarFault) {
        guard let last = Array(bytes).last else { return try skip(from, to) }
        let at = try literal(from, bytes.dropLast())
        try edge(at, last...last, to)
    }

    /// One of several texts, each read to `to`; equal beginnings are shared.
    mutating func oneOf(_ from: Node, _ texts: [[UInt8]], to: Node) throws(GrammarFault) {
        var children: [Node: [UInt8: Node]] = [:]
        for text in texts {
            guard let last = text.last else {
                try skip(from, to)
                continue
            }
            var at = from
            for byte in text.dropLast() {
                if let next = children[at]?[byte] {
                    at = next
                } else {
                    let next = try node()
                    try edge(at, byte...byte, next)
                    children[at, default: [:]][byte] = next
                    at = next
                }
            }
            try edge(at, last...last, to)
        }
    }

    /// One character of the set, as UTF-8; equal endings are shared.
    mutating func scalar(_ from: Node, _ set: ScalarSet, _ to: Node) throws(GrammarFault) {
        var endings: [[ClosedRange<UInt8>]: Node] = [:]
        for sequence in set.byteSequences {
            var target = to
            for length in stride(from: 1, to: sequence.count, by: 1) {
                let ending = Array(sequence.suffix(length))
                if let known = endings[ending] {
                    target = known
                } else {
                    let before = try node()
                    guard let first = ending.first else { continue }
                    try edge(before, first, target)
                    endings[ending] = before
                    target = before
                }
            }
            if let first = sequence.first { try edge(from, first, target) }
        }
    }
}
