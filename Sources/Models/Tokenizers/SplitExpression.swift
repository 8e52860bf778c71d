// Finds the matches of a split expression. Backtracking over a small graph: a run of characters gives back one
// character at a time, so the expressions of the supported families take a few looks at each character. A hostile
// expression meets its budget instead, after which the rest of a text is one piece: nothing hangs, and the same text
// always gives the same pieces.

struct SplitExpression: Sendable {
    /// Looks at characters that a text may cost, for each of its bytes.
    private static let looksPerByte = 256

    private enum Operation {
        case set, run, keptRun, either, ahead, notAhead, lineStart, lineEnd, accept
    }

    private struct Step {
        var operation: Operation
        /// `set`, `run`: which set. `either`: where its branches begin. `ahead`: the step to look with.
        var index = 0
        /// `either`: how many branches.
        var count = 0
        var min = 0
        var max = 0
        var next = 0
        /// ASCII characters that it can begin with.
        var low = UInt64.max
        var high = UInt64.max
    }

    let source: String
    private var steps: [Step] = [Step(operation: .accept)]
    private var branches: [Int] = []
    private var sets: [ScalarSet] = []
    private var entry = 0

    init(_ source: String) throws(SplitSyntaxFault) {
        self.init(try SplitParser.parse(source), source: source)
    }

    /// One character of a set.
    init(_ set: ScalarSet) { self.init(.set(set), source: "") }

    /// One or more characters of any of these sets.
    init(runs: [ScalarSet]) {
        self.init(.either(runs.map { .run($0, min: 1, max: .max, keeps: true) }), source: "")
    }

    private init(_ node: SplitNode, source: String) {
        self.source = source
        entry = compile(node, next: 0)
    }

    private mutating func add(_ step: Step) -> Int {
        steps.append(step)
        return steps.count - 1
    }

    private mutating func add(_ set: ScalarSet) -> Int {
        if let known = sets.firstIndex(of: set) { return known }
        sets.append(set)
        return sets.count - 1
    }

    private mutating func compile(_ node: SplitNode, next: Int) -> Int {
        switch node {
        case .set(let set):
            return add(Step(operation: .set, index: add(set), next: next, low: set.low, high: set.high))
        case .run(let set, let min, let max, let keeps):
            let after = steps[next]
            return add(
                Step(
                    operation: keeps ? .keptRun : .run, index: add(set), min: min, max: max, next: next,
                    low: min > 0 ? set.low : set.low | after.low, high: min > 0 ? set.high : set.high | after.high))
        case .sequence(let nodes):
            var next = next
            for node in nodes.reversed() { next = compile(node, next: next) }
            return next
        case .either(let nodes): return either(nodes.map { compile($0, next: next) })
        case .optional(let node): return either([compile(node, next: next), next])
        case .ahead(let node, let negated):
            let inner = compile(node, next: 0)
            return add(Step(operation: negated ? .notAhead : .ahead, index: inner, next: next))
        case .lineStart: return add(Step(operation: .lineStart, next: next))
        case .lineEnd: return add(Step(operation: .lineEnd, next: next))
        }
    }

    private mutating func either(_ choices: [Int]) -> Int {
        let low = choices.reduce(0) { $0 | steps[$1].low }, high = choices.reduce(0) { $0 | steps[$1].high }
        branches += choices
        return add(
            Step(operation: .either, index: branches.count - choices.count, count: choices.count, low: low, high: high))
    }

    /// Calls `visit` for every stretch of `text[from..<end]` in order: those that match, and those between.
    func visit(
        _ text: UnsafeBufferPointer<UInt8>, from: Int, to end: Int, _ visit: (Range<Int>, _ isMatch: Bool) -> Void
    ) {
        steps.withUnsafeBufferPointer { steps in
            sets.withUnsafeBufferPointer { sets in
                branches.withUnsafeBufferPointer { branches in
                    ScalarCategory.basicPlane.withUnsafeBufferPointer { plane in
                        var matcher = Matcher(
                            steps: steps, sets: sets, branches: branches, plane: plane, text: text, start: from,
                            end: end, looks: (end - from + 16) * Self.looksPerByte)
                        var behind = from, at = from
                        while at < end {
                            let stop = matcher.match(entry, at)
                            if stop > at {
                                if at > behind { visit(behind..<at, false) }
                                visit(at..<stop, true)
                                behind = stop
                                at = stop
                            } else if matcher.looks <= 0 {
                                at = end
                            } else {
                                at = min(at + UTF8Reading.width(text[at]), end)
                            }
                        }
                        if behind < end { visit(behind..<end, false) }
                    }
                }
            }
        }
    }

    private struct Matcher {
        let steps: UnsafeBufferPointer<Step>
        let sets: UnsafeBufferPointer<ScalarSet>
        let branches: UnsafeBufferPointer<Int>
        let plane: UnsafeBufferPointer<UInt8>
        let text: UnsafeBufferPointer<UInt8>
        let start: Int
        let end: Int
        /// How many more characters may be looked at.
        var looks: Int

        /// Whether the character at `at` belongs to a set; `at` moves behind it if so.
        @inline(__always)
        private func take(_ set: UnsafePointer<ScalarSet>, _ at: inout Int) -> Bool {
            guard at < end else { return false }
            var after = at
            guard set.pointee.holds(UTF8Reading.scalar(text, &after, end: end), plane) else { return false }
            at = after
            return true
        }

        @inline(__always)
        private func canBegin(_ step: Step, _ at: Int) -> Bool {
            guard at < end else { return true }
            let byte = text[at]
            return byte >= 128 || (byte < 64 ? step.low >> UInt64(byte) : step.high >> UInt64(byte - 64)) & 1 != 0
        }

        /// Where a match that begins at `at` ends; -1 if there is none.
        mutating func match(_ first: Int, _ from: Int) -> Int {
            var index = first, at = from
            while true {
                let step = steps[index]
                looks -= 1
                guard looks > 0 else { return -1 }
                switch step.operation {
                case .accept: return at
                case .set:
                    guard let base = sets.baseAddress, take(base + step.index, &at) else { return -1 }
                case .run, .keptRun:
                    guard let base = sets.baseAddress else { return -1 }
                    let begin = at
                    var count = 0
                    while count < step.max, take(base + step.index, &at) { count += 1 }
                    looks -= count
                    guard count >= step.min else { return -1 }
                    if step.operation == .keptRun || steps[step.next].operation == .accept { break }
                    while true {
                        let stop = match(step.next, at)
                        if stop >= 0 { return stop }
                        guard count > step.min, looks > 0 else { return -1 }
                        count -= 1
                        at = UTF8Reading.before(text, at, start: begin)
                    }
                case .either:
                    for branch in step.index..<step.index + step.count {
                        let choice = branches[branch]
                        guard canBegin(steps[choice], at) else { continue }
                        let stop = match(choice, at)
                        if stop >= 0 { return stop }
                    }
                    return -1
                case .ahead, .notAhead:
                    let found = match(step.index, at) >= 0
                    guard looks > 0, found == (step.operation == .ahead) else { return -1 }
                case .lineStart:
                    guard at == start || text[at - 1] == 0x0a else { return -1 }
                case .lineEnd:
                    guard at == end || text[at] == 0x0a else { return -1 }
                }
                index = step.next
            }
        }
    }
}
