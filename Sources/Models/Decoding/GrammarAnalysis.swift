// From rules with empty edges to a grammar without: what may be empty, what can end, what begins with itself.

extension GrammarBuilder {
    /// The grammar whose texts are those of `root`. What no text can complete is cut off; a rule that may begin with
    /// itself is refused, since reading it would never begin.
    func finish(root: Rule) throws(GrammarFault) -> Grammar {
        let height = heights()
        guard height[Int(start(root))] < .max else {
            throw GrammarFault(
                place: rules[Int(root)].place,
                reason: "can never be completed: what it demands excludes itself, or it always contains itself; "
                    + "give it a way to end")
        }
        guard Int(height[Int(start(root))]) < GrammarLimit.callDepthMax else {
            throw GrammarFault(
                place: rules[Int(root)].place, reason: "nests deeper than \(GrammarLimit.callDepthMax) levels at least")
        }
        let empty = emptyRules()
        var edgeStart: [Int32] = [0], edges: [Grammar.Edge] = [], callStart: [Int32] = [0], calls: [Grammar.Call] = []
        var isFinal: [Bool] = []
        var ruleOfEnd = [Bool](repeating: false, count: states.count)
        for rule in rules { ruleOfEnd[Int(rule.end)] = true }
        var seen = [Int32](repeating: -1, count: states.count), reach: [Node] = []
        for node in states.indices {
            var final = false
            reachable(from: Node(truncatingIfNeeded: node), empty, &seen, &reach)
            let edgesBefore = edges.count, callsBefore = calls.count
            for place in reach {
                if ruleOfEnd[Int(place)] { final = true }
                for edge in states[Int(place)].edges where height[Int(edge.target)] < .max { edges.append(edge) }
                for call in states[Int(place)].calls
                where height[Int(call.next)] < .max && height[Int(start(call.rule))] < .max {
                    calls.append(call)
                }
            }
            if reach.count > 1 {
                unique(&edges, from: edgesBefore) { ($0.low, $0.high, $0.target) < ($1.low, $1.high, $1.target) }
                unique(&calls, from: callsBefore) { ($0.rule, $0.next) < ($1.rule, $1.next) }
            }
            guard edges.count <= GrammarLimit.edgesMax * 4 else {
                throw GrammarFault(
                    place: rules[Int(root)].place, reason: "has too many alternatives that may be left out; use fewer")
            }
            isFinal.append(final)
            edgeStart.append(Int32(truncatingIfNeeded: edges.count))
            callStart.append(Int32(truncatingIfNeeded: calls.count))
        }
        return Grammar(
            edgeStart: edgeStart, edges: edges, callStart: callStart, calls: calls, isFinal: isFinal, height: height,
            room: states.map(\.room), stride: states.map(\.stride), ruleStart: rules.map(\.start),
            ruleRank: try ranks(callStart, calls), root: root)
    }

    private func unique<Item: Hashable>(_ items: inout [Item], from: Int, by order: (Item, Item) -> Bool) {
        guard items.count - from > 1 else { return }
        items[from...].sort(by: order)
        var kept = from + 1
        for index in from + 1..<items.count where items[index] != items[kept - 1] {
            items[kept] = items[index]
            kept += 1
        }
        items.removeLast(items.count - kept)
    }

    /// All nodes that are reached without reading.
    private func reachable(from node: Node, _ empty: [Bool], _ seen: inout [Int32], _ reach: inout [Node]) {
        reach.removeAll(keepingCapacity: true)
        reach.append(node)
        seen[Int(node)] = node
        var at = 0
        while at < reach.count {
            let state = states[Int(reach[at])]
            at += 1
            for next in state.empty where seen[Int(next)] != node {
                seen[Int(next)] = node
                reach.append(next)
            }
            for call in state.calls where empty[Int(call.rule)] && seen[Int(call.next)] != node {
                seen[Int(call.next)] = node
                reach.append(call.next)
            }
        }
    }

    /// Whether a rule may read nothing.
    private func emptyRules() -> [Bool] {
        let (before, callers) = predecessors()
        var empty = [Bool](repeating: false, count: rules.count)
        // Nodes from which the end of their rule is reached without reading.
        var reaches = [Bool](repeating: false, count: states.count)
        var ruleOfStart: [Node: Rule] = [:]
        for (rule, ends) in rules.enumerated() { ruleOfStart[ends.start] = Rule(truncatingIfNeeded: rule) }
        var queue: [Node] = []
        func reached(_ node: Node) {
            guard !reaches[Int(node)] else { return }
            reaches[Int(node)] = true
            queue.append(node)
        }
        for rule in rules { reached(rule.end) }
        while let node = queue.popLast() {
            for (from, kind) in before[Int(node)] {
                switch kind {
                case .empty: reached(from)
                case .call(let rule): if empty[Int(rule)] { reached(from) }
                case .byte: break
                }
            }
            if let rule = ruleOfStart[node], !empty[Int(rule)] {
                empty[Int(rule)] = true
                for (from, next) in callers[Int(rule)] where reaches[Int(next)] { reached(from) }
            }
        }
        return empty
    }

    private enum Step { case byte, empty, call(Rule) }

    // swift-format-ignore
    private func predecessors() -> (before: [[(from: Node, kind: Step)]], callers: [[(from: Node, next: Node)]]) {
        var before = [[(from: Node, kind: Step)]](repeating: [], count: states.count)
        var callers = [[(from: Node, next: Node)]](repeating: [], count: rules.count)
        for (index, state) in states.enumerated() {
            let from = Node(truncatingIfNeeded: index)
            for edge in state.edges { before[Int(edge.target)].append((from, .byte)) }
            for next in state.empty { before[Int(next)].append((from, .empty)) }
            for call in state.calls {
                before[Int(call.next)].append((from, .call(call.rule)))
                callers[Int(call.rule)].append((from, call.next))
            }
        }
        return (before, callers)
    }

    /// The least nesting of calls by which each node reaches the end of its rule; `.max` where nothing does. Found in
    /// order of height: all nodes of height h before those of h + 1.
    private func heights() -> [UInt16] {
        let (before, callers) = predecessors()
        var height = [UInt16](repeating: .max, count: states.count)
        var ruleOfStart: [Node: [Rule]] = [:]
        for (rule, ends) in rules.enumerated() {
            ruleOfStart[ends.start, default: []].append(Rule(truncatingIfNeeded: rule))
        }
        var ruleHeight = [UInt16](repeating: .max, count: rules.count)
        var levels: [[Node]] = [rules.map(\.end)]
        var level = 0
        func offer(_ node: Node, _ value: UInt16) {
            guard value < .max, height[Int(node)] > value else { return }
            while levels.count <= Int(value) { levels.append([]) }
            levels[Int(value)].append(node)
        }
        while level < levels.count {
            let current = UInt16(truncatingIfNeeded: level)
            while let node = levels[level].popLast() {
                guard height[Int(node)] > current else { continue }
                height[Int(node)] = current
                for (from, kind) in before[Int(node)] {
                    switch kind {
                    case .byte, .empty: offer(from, current)
                    case .call(let rule):
                        if ruleHeight[Int(rule)] < .max { offer(from, max(current, ruleHeight[Int(rule)] + 1)) }
                    }
                }
                for rule in ruleOfStart[node] ?? [] {
                    ruleHeight[Int(rule)] = current
                    for (from, next) in callers[Int(rule)] where height[Int(next)] < .max {
                        offer(from, max(height[Int(next)], current + 1))
                    }
                }
            }
            level += 1
        }
        return height
    }

    /// Orders rules so that whoever calls before reading comes first.
    private func ranks(_ callStart: [Int32], _ calls: [Grammar.Call]) throws(GrammarFault) -> [Int32] {
        var rank = [Int32](repeating: -1, count: rules.count)
        // 0 unseen, 1 on the path, 2 done: depth first without recursion, ranks given from the last done down.
        var mark = [UInt8](repeating: 0, count: rules.count)
        var next = Int32(truncatingIfNeeded: rules.count)
        for first in rules.indices where mark[first] == 0 {
            var path: [(rule: Int, call: Int)] = [(first, Int(callStart[Int(rules[first].start)]))]
            mark[first] = 1
            while let top = path.last {
                if top.call < Int(callStart[Int(rules[top.rule].start) + 1]) {
                    path[path.count - 1].call += 1
                    let called = Int(calls[top.call].rule)
                    if mark[called] == 1 {
                        throw GrammarFault(
                            place: rules[called].place,
                            reason: "\(rules[called].name) may begin with itself; "
                                + "put something before the recursion, or write it as a repetition")
                    }
                    if mark[called] == 0 {
                        mark[called] = 1
                        path.append((called, Int(callStart[Int(rules[called].start)])))
                    }
                } else {
                    mark[top.rule] = 2
                    next -= 1
                    rank[top.rule] = next
                    path.removeLast()
                }
            }
        }
        return rank
    }
}
