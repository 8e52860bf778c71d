// Runs a grammar over bytes. A state is the set of all places where the text so far may stand: pairs of a node and a
// stack of places to return to. All that one byte calls of a rule share one stack entry, so ambiguity costs a product and
// not a power (after the generalised LL parsing of Scott and Johnstone, 2010). Stacks and states are interned and the
// steps between states remembered: what has been read once is a look-up.
//
//     step: read the byte -> return from finished rules -> call rules, callers before the called
//
// A state also says whether the text may end in it. Everything has a limit and is counted, so a hostile grammar costs a
// fault and not the machine; what is remembered can be thrown away at any time (`compact`).

package enum ConstraintFault: Error, Hashable, CustomStringConvertible {
    case notAllowed(token: Int32)
    case tooAmbiguous(limit: Int)
    case tooMuchWork(limit: Int)
    case noTokenFits

    package var description: String {
        switch self {
        case .notAllowed(let token): "token \(token) does not fit the grammar here"
        case .tooAmbiguous(let limit):
            "the grammar can read the answer so far in more than \(limit) ways; make its alternatives distinct"
        case .tooMuchWork(let limit):
            "finding the next allowed tokens took more than \(limit) steps; use a simpler grammar"
        case .noTokenFits: "no token of this model's vocabulary can continue the answer as the grammar asks"
        }
    }
}

package enum ConstraintLimit {
    /// Places of one state.
    package static let placesMax = 4096
    /// Steps that one mask or one token may take.
    package static let workMax = 30_000_000
    static let statesMax = 8192
    static let stacksMax = 32_768
    static let storedPlacesMax = 1 << 20
    /// States that one mask may add.
    static let freshStatesMax = 32_768
    static let masksMax = 48
    static let basesMax = 384
}

struct Recognizer: Sendable {
    typealias StateID = Int32
    typealias StackID = Int32

    /// A node and the stack under it.
    struct Place: Hashable, Comparable, Sendable {
        let node: Int32
        let stack: StackID

        static func < (a: Self, b: Self) -> Bool { (a.node, a.stack) < (b.node, b.stack) }
    }

    private struct Stack {
        /// Where to go on: several callers, each with its own stack.
        let returns: [Place]
        let depth: Int32
    }

    private struct State: Hashable {
        /// Only nodes that read a byte.
        let places: [Place]
        let mayEnd: Bool
    }

    static let dead: StateID = 0
    static let bottom: StackID = 0

    let grammar: Grammar
    /// Counted down to zero by whoever sets it.
    var work = 0
    private var stacks: [Stack] = []
    private var stackIDs: [[Place]: StackID] = [:]
    private var states: [State] = []
    private var stateIDs: [State: StateID] = [:]
    /// [state][class of byte], -1 where not known yet.
    private var steps: [StateID] = []
    private var returned: [StackID: StateID] = [:]
    private var stored = 0

    init(_ grammar: Grammar) {
        self.grammar = grammar
        reset()
    }

    private mutating func reset() {
        stacks = [Stack(returns: [], depth: 0)]
        stackIDs = [:]
        states = []
        stateIDs = [:]
        steps = []
        returned = [:]
        stored = 0
        _ = intern([], mayEnd: false)
    }

    // MARK: States

    func places(_ state: StateID) -> [Place] { states[Int(state)].places }
    func mayEnd(_ state: StateID) -> Bool { states[Int(state)].mayEnd }

    /// Whether `compact` is due.
    var isFull: Bool {
        states.count > ConstraintLimit.statesMax || stacks.count > ConstraintLimit.stacksMax
            || stored > ConstraintLimit.storedPlacesMax
    }

    mutating func intern(_ places: [Place], mayEnd: Bool) -> StateID {
        let state = State(places: places, mayEnd: mayEnd)
        if let known = stateIDs[state] { return known }
        let id = StateID(truncatingIfNeeded: states.count)
        states.append(state)
        stateIDs[state] = id
        stored += places.count
        steps.append(contentsOf: repeatElement(id == Self.dead ? Self.dead : -1, count: grammar.classCount))
        return id
    }

    private mutating func push(_ returns: [Place]) -> StackID {
        if let known = stackIDs[returns] { return known }
        let id = StackID(truncatingIfNeeded: stacks.count)
        let depth = returns.map { stacks[Int($0.stack)].depth }.min() ?? 0
        stacks.append(Stack(returns: returns, depth: depth + 1))
        stackIDs[returns] = id
        stored += returns.count
        return id
    }

    /// Before the first byte.
    mutating func start() throws(ConstraintFault) -> StateID {
        let root = Int(grammar.root)
        let first = Place(node: grammar.ruleStart[root], stack: Self.bottom)
        // A rule that may be empty is past its end already.
        return try close([first], mayEnd: grammar.isFinal[Int(first.node)], returns: false)
    }

    /// The state after one more byte, if it is known.
    @inline(__always)
    func known(_ state: StateID, _ byte: UInt8) -> StateID {
        steps[Int(state) &* grammar.classCount &+ Int(grammar.byteClass[Int(byte)])]
    }

    mutating func step(_ state: StateID, _ byte: UInt8) throws(ConstraintFault) -> StateID {
        let kind = Int(grammar.byteClass[Int(byte)])
        let slot = Int(state) * grammar.classCount + kind
        if steps[slot] >= 0 { return steps[slot] }
        guard states.count < ConstraintLimit.statesMax + ConstraintLimit.freshStatesMax else {
            throw .tooMuchWork(limit: ConstraintLimit.workMax)
        }
        let byte = grammar.classByte[kind]
        var moved: [Place] = []
        for place in states[Int(state)].places {
            let first = Int(grammar.edgeStart[Int(place.node)]), end = Int(grammar.edgeStart[Int(place.node) + 1])
            try spend(1 + end - first)
            let depth = Int(stacks[Int(place.stack)].depth)
            for edge in grammar.edges[first..<end] where edge.low <= byte && byte <= edge.high {
                if depth + Int(grammar.height[Int(edge.target)]) <= GrammarLimit.callDepthMax {
                    moved.append(Place(node: edge.target, stack: place.stack))
                }
            }
        }
        let next = moved.isEmpty ? Self.dead : try close(moved, mayEnd: false, returns: true)
        steps[slot] = next
        return next
    }

    /// Where the text stands when all that lies above the stack's top entry has just been read.
    mutating func afterReturn(from stack: StackID) throws(ConstraintFault) -> StateID {
        if let known = returned[stack] { return known }
        let state =
            stack == Self.bottom
            ? intern([], mayEnd: true) : try close(stacks[Int(stack)].returns, mayEnd: false, returns: true)
        returned[stack] = state
        return state
    }

    private mutating func spend(_ steps: Int) throws(ConstraintFault) {
        work -= steps
        guard work > 0 else { throw .tooMuchWork(limit: ConstraintLimit.workMax) }
    }

    /// All places that are reached without another byte. `returns`: the places were reached by reading, so that rules
    /// which may end there do end there; a rule that reads nothing needs no return, its caller has a way past it.
    private mutating func close(
        _ reached: [Place], mayEnd: Bool, returns: Bool
    ) throws(ConstraintFault) -> StateID {
        var mayEnd = mayEnd
        var seen: Set<Place> = []
        var places = reached.filter { seen.insert($0).inserted }
        if returns {
            var at = 0
            while at < places.count {
                let place = places[at]
                at += 1
                guard grammar.isFinal[Int(place.node)] else { continue }
                if place.stack == Self.bottom { mayEnd = true }
                for next in stacks[Int(place.stack)].returns where seen.insert(next).inserted { places.append(next) }
                try check(places.count)
            }
        }
        try spend(places.count)
        try call(&places)
        places.removeAll { grammar.edgeStart[Int($0.node)] == grammar.edgeStart[Int($0.node) + 1] }
        guard mayEnd || !places.isEmpty else { return Self.dead }
        places.sort()
        return intern(places, mayEnd: mayEnd)
    }

    private func check(_ places: Int) throws(ConstraintFault) {
        guard places <= ConstraintLimit.placesMax else { throw .tooAmbiguous(limit: ConstraintLimit.placesMax) }
    }

    /// Adds the starts of all rules that are called, in order of rank: by then all callers of a rule are known.
    private mutating func call(_ places: inout [Place]) throws(ConstraintFault) {
        var callers: [Int32: Set<Place>] = [:]
        var waiting: [(rank: Int32, rule: Int32)] = []
        var at = 0
        while true {
            while at < places.count {
                let place = places[at]
                at += 1
                let first = Int(grammar.callStart[Int(place.node)]), end = Int(grammar.callStart[Int(place.node) + 1])
                try spend(1 + end - first)
                for call in grammar.calls[first..<end] {
                    if callers[call.rule] == nil {
                        let rank = grammar.ruleRank[Int(call.rule)]
                        // Greatest rank first: the next one is taken from the end.
                        let index = waiting.firstIndex { $0.rank < rank } ?? waiting.count
                        try spend(index)
                        waiting.insert((rank, call.rule), at: index)
                    }
                    if place.stack != Self.bottom, onlyEnds(call.next) {
                        // Nothing is left to do on return: go straight to where the caller returns to.
                        let above = stacks[Int(place.stack)].returns
                        try spend(above.count)
                        callers[call.rule, default: []].formUnion(above)
                    } else {
                        callers[call.rule, default: []].insert(Place(node: call.next, stack: place.stack))
                    }
                }
            }
            guard let next = waiting.popLast() else { return }
            let returns = (callers[next.rule] ?? []).sorted()
            try check(returns.count)
            try spend(returns.count)
            let depth = returns.map { stacks[Int($0.stack)].depth }.min() ?? 0
            let start = grammar.ruleStart[Int(next.rule)]
            guard Int(depth) + 1 + Int(grammar.height[Int(start)]) <= GrammarLimit.callDepthMax else { continue }
            places.append(Place(node: start, stack: push(returns)))
            try check(places.count)
        }
    }

    private func onlyEnds(_ node: Int32) -> Bool {
        let node = Int(node)
        return grammar.isFinal[node] && grammar.edgeStart[node] == grammar.edgeStart[node + 1]
            && grammar.callStart[node] == grammar.callStart[node + 1]
    }

    // MARK: Forgetting

    /// Forgets all but what `roots` stand for, which get new names.
    mutating func compact(_ roots: inout [StateID]) {
        let kept = roots.map { states[Int($0)] }
        let old = stacks
        var needed = [Bool](repeating: false, count: old.count)
        for state in kept { for place in state.places { needed[Int(place.stack)] = true } }
        // A stack's entries are older than itself.
        for id in stride(from: old.count - 1, to: 0, by: -1) where needed[id] {
            for place in old[id].returns { needed[Int(place.stack)] = true }
        }
        reset()
        var names = [StackID](repeating: Self.bottom, count: old.count)
        func renamed(_ places: [Place]) -> [Place] {
            places.map { Place(node: $0.node, stack: names[Int($0.stack)]) }.sorted()
        }
        for id in 1..<max(1, old.count) where needed[id] { names[id] = push(renamed(old[id].returns)) }
        for (index, state) in kept.enumerated() {
            roots[index] = intern(renamed(state.places), mayEnd: state.mayEnd)
        }
    }
}
