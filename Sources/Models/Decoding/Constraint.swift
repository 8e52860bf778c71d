// Which tokens a grammar allows next. A value: each sequence, and each choice of n, has its own copy; grammar and
// vocabulary are shared.
//
//     allowed() -> mask -> [the sampler chooses] -> accept(token) -> allowed() …      until isComplete and the model ends
//
// A mask is found by walking the vocabulary's tree with the recogniser. Masks are kept by state. For the nodes that take
// most bytes (the inside of a string) the walk is split: what a token does within the rule depends on the node alone and
// is kept by node; only where a token leaves the rule is the walk continued, in the state that the stack then gives.

package struct Constraint: Sendable {
    /// What a node allows whatever the stack: tokens that stay within its rule, and where in the tree the rule may end.
    private struct Base: Sendable {
        let mask: TokenMask
        let exits: [Int32]
    }

    private let vocabulary: VocabularyTrie
    private let ends: [Int32]
    private var recognizer: Recognizer
    private var state: Recognizer.StateID
    private var atStart = true
    private var hasEnded = false
    private var masks: [Recognizer.StateID: TokenMask] = [:]
    private var bases: [Int32: Base?] = [:]
    /// The states along the branch that is walked, by depth.
    private var path: [Recognizer.StateID]

    /// `ends`: the tokens that end an answer.
    package init(_ grammar: Grammar, vocabulary: VocabularyTrie, ends: [Int32]) throws(ConstraintFault) {
        self.vocabulary = vocabulary
        self.ends = ends.sorted()
        recognizer = Recognizer(grammar)
        recognizer.work = ConstraintLimit.workMax
        state = try recognizer.start()
        path = Array(repeating: Recognizer.dead, count: vocabulary.depthMax + 1)
    }

    /// Whether the answer may end here.
    package var isComplete: Bool { hasEnded || recognizer.mayEnd(state) }

    /// Whether it must: no byte can follow.
    package var isExhausted: Bool { hasEnded || (recognizer.mayEnd(state) && recognizer.places(state).isEmpty) }

    /// The tokens that may come next; those that end the answer only where the grammar may end. Throws `.noTokenFits`
    /// where there is none, though the answer is not complete; an exhausted grammar gives the end tokens alone (an empty
    /// mask where the model has none: the answer is over).
    package mutating func allowed() throws(ConstraintFault) -> TokenMask {
        recognizer.work = ConstraintLimit.workMax
        if recognizer.isFull { forget() }
        let isPlain = !hasEnded && !(atStart && vocabulary.dropsFirstBlank)
        if isPlain, let known = masks[state] { return known }
        var mask = TokenMask(vocabulary: vocabulary.vocabulary)
        if !hasEnded { try fill(&mask) }
        if isComplete { for end in ends { mask.insert(end) } }
        guard isComplete || !mask.isEmpty else { throw .noTokenFits }
        if masks.count >= ConstraintLimit.masksMax { masks.removeAll(keepingCapacity: true) }
        if isPlain { masks[state] = mask }
        return mask
    }

    /// Takes a token of the answer.
    package mutating func accept(_ token: Int32) throws(ConstraintFault) {
        recognizer.work = ConstraintLimit.workMax
        if recognizer.isFull { forget() }
        if isEnd(token) {
            guard isComplete else { throw .notAllowed(token: token) }
            hasEnded = true
            return
        }
        var text = vocabulary.text(of: token)
        guard !hasEnded, !text.isEmpty else { throw .notAllowed(token: token) }
        if atStart, vocabulary.dropsFirstBlank, text.first == 0x20 { text = text.dropFirst() }
        var next = state
        for byte in text { next = try recognizer.step(next, byte) }
        guard next != Recognizer.dead else { throw .notAllowed(token: token) }
        state = next
        atStart = false
    }

    private func isEnd(_ token: Int32) -> Bool { ends.contains(token) }

    private mutating func forget() {
        var roots = [state]
        recognizer.compact(&roots)
        state = roots[0]
        masks.removeAll(keepingCapacity: true)
    }

    // MARK: Walking

    private mutating func fill(_ mask: inout TokenMask) throws(ConstraintFault) {
        try fill(&mask, from: state)
        guard atStart, vocabulary.dropsFirstBlank else { return }
        // The blank that is not shown, and what follows it in the same token.
        var node = 0
        while node < vocabulary.count, vocabulary.bytes[node] != 0x20 { node = Int(vocabulary.skips[node]) }
        guard node < vocabulary.count else { return }
        insertTokens(at: node, &mask)
        _ = try walk(node + 1..<Int(vocabulary.skips[node]), state, &mask)
    }

    private mutating func fill(
        _ mask: inout TokenMask, from state: Recognizer.StateID
    ) throws(ConstraintFault) {
        let grammar = recognizer.grammar
        var narrow: [Recognizer.Place] = [], wide: [(place: Recognizer.Place, base: Base)] = []
        for place in recognizer.places(state) {
            if grammar.isWide[Int(place.node)], let base = try base(of: place.node) {
                wide.append((place, base))
            } else {
                narrow.append(place)
            }
        }
        if !narrow.isEmpty {
            _ = try walk(0..<vocabulary.count, recognizer.intern(narrow, mayEnd: false), &mask)
        }
        for (place, base) in wide {
            mask.formUnion(base.mask)
            let after = try recognizer.afterReturn(from: place.stack)
            for exit in base.exits {
                _ = try walk(Int(exit) + 1..<Int(vocabulary.skips[Int(exit)]), after, &mask)
            }
        }
    }

    /// Nil where the node's rule ends so often inside tokens that nothing is gained.
    private mutating func base(of node: Int32) throws(ConstraintFault) -> Base? {
        let grammar = recognizer.grammar
        // Copies of a counted repetition behave alike until the count runs out.
        let room = Int(grammar.room[Int(node)]), spare = room - vocabulary.depthMax
        let node = spare > 0 ? node + Int32(spare) * grammar.stride[Int(node)] : node
        if let known = bases[node] { return known }
        if bases.count >= ConstraintLimit.basesMax { bases.removeAll(keepingCapacity: true) }
        var mask = TokenMask(vocabulary: vocabulary.vocabulary)
        let alone = recognizer.intern([Recognizer.Place(node: node, stack: Recognizer.bottom)], mayEnd: false)
        let exits = try walk(0..<vocabulary.count, alone, &mask)
        let base: Base? = exits.count * 8 > vocabulary.count ? nil : Base(mask: mask, exits: exits)
        bases[node] = .some(base)
        return base
    }

    private func insertTokens(at node: Int, _ mask: inout TokenMask) {
        for place in vocabulary.tokenStart[node]..<vocabulary.tokenStart[node + 1] {
            mask.insert(vocabulary.order[Int(place)])
        }
    }

    /// Walks a stretch of the tree, whose nodes' parent has `state`, and adds the tokens that fit. Answers the nodes at
    /// which the grammar, seen from that state, may end.
    private mutating func walk(
        _ range: Range<Int>, _ state: Recognizer.StateID, _ mask: inout TokenMask
    ) throws(ConstraintFault) -> [Int32] {
        guard !range.isEmpty else { return [] }
        let vocabulary = vocabulary
        var exits: [Int32] = []
        let top = Int(vocabulary.depths[range.lowerBound]) - 1
        path[top] = state
        var node = range.lowerBound, visited = 0
        while node < range.upperBound {
            let depth = Int(vocabulary.depths[node])
            let from = path[depth - 1], byte = vocabulary.bytes[node]
            var next = recognizer.known(from, byte)
            if next < 0 { next = try recognizer.step(from, byte) }
            visited += 1
            guard next != Recognizer.dead else {
                node = Int(vocabulary.skips[node])
                continue
            }
            path[depth] = next
            insertTokens(at: node, &mask)
            if recognizer.mayEnd(next) { exits.append(Int32(truncatingIfNeeded: node)) }
            node += 1
        }
        recognizer.work -= visited / 8
        guard recognizer.work > 0 else { throw .tooMuchWork(limit: ConstraintLimit.workMax) }
        return exits
    }
}
