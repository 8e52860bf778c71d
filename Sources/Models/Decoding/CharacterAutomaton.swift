// A pattern as an automaton over characters, without empty edges, so that lengths can be counted along with it.

struct CharacterAutomaton {
    private static let statesMax = 20_000

    private(set) var edges: [[(set: ScalarSet, target: Int)]] = [[]]
    private(set) var empty: [[Int]] = [[]]
    private(set) var isFinal: [Bool] = []
    private let place: String

    /// State 0 is where it begins.
    init(_ pattern: Pattern, place: String) throws(GrammarFault) {
        self.place = place
        let end = try state()
        try add(pattern, from: 0, to: end)
        try removeEmptyEdges(end)
    }

    private mutating func state() throws(GrammarFault) -> Int {
        guard edges.count < Self.statesMax else {
            throw GrammarFault(
                place: place, reason: "the pattern is too large (more than \(Self.statesMax) states); lower its counts")
        }
        edges.append([])
        empty.append([])
        return edges.count - 1
    }

    private mutating func add(_ pattern: Pattern, from: Int, to: Int) throws(GrammarFault) {
        switch pattern {
        case .set(let set): if !set.isEmpty { edges[from].append((set, to)) }
        case .sequence(let items):
            var at = from
            for (index, item) in items.enumerated() {
                let next = index == items.count - 1 ? to : try state()
                try add(item, from: at, to: next)
                at = next
            }
            if items.isEmpty { empty[from].append(to) }
        case .choice(let choices):
            for choice in choices {
                // A copy of the beginning, so that a loop there does not leak into the other choices.
                let start = try state()
                empty[from].append(start)
                try add(choice, from: start, to: to)
            }
        case .repeated(let item, let least, let most):
            var at = from
            for _ in 0..<least {
                let next = try state()
                try add(item, from: at, to: next)
                at = next
            }
            if let most {
                empty[at].append(to)
                for _ in least..<max(least, most) {
                    let next = try state()
                    try add(item, from: at, to: next)
                    empty[next].append(to)
                    at = next
                }
            } else {
                let loop = try state()
                empty[at].append(loop)
                try add(item, from: loop, to: loop)
                empty[loop].append(to)
            }
        }
    }

    private mutating func removeEmptyEdges(_ end: Int) throws(GrammarFault) {
        var whole: [[(set: ScalarSet, target: Int)]] = []
        var total = 0
        for state in edges.indices {
            var reach = [state], seen: Set<Int> = [state], at = 0
            while at < reach.count {
                for next in empty[reach[at]] where seen.insert(next).inserted { reach.append(next) }
                at += 1
            }
            isFinal.append(seen.contains(end))
            var own: [(set: ScalarSet, target: Int)] = []
            for place in reach { own += edges[place] }
            total += own.count + reach.count
            guard total <= GrammarLimit.edgesMax else {
                throw GrammarFault(place: place, reason: "the pattern has too many ways to skip parts; simplify it")
            }
            whole.append(own)
        }
        edges = whole
        keepReachable()
    }

    /// Renames the states that are reached from the first.
    private mutating func keepReachable() {
        var names: [Int: Int] = [0: 0], order = [0], at = 0
        while at < order.count {
            for edge in edges[order[at]] where names[edge.target] == nil {
                names[edge.target] = order.count
                order.append(edge.target)
            }
            at += 1
        }
        isFinal = order.map { isFinal[$0] }
        edges = order.map { [edges] state in edges[state].map { ($0.set, names[$0.target] ?? 0) } }
        empty = []
    }
}
