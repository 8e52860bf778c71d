// Which pages hold which tokens: a tree whose edges are 16 tokens and whose roots are what else decides the bits of a page
// (the adapter, and the domain that a caller separates from others). A node's hash chains its parent's hash and its tokens;
// a lookup compares the tokens themselves, so two prompts never share a page by accident.
//
//     root (adapter, domain) ── 16 tokens ── node ── 16 tokens ── node …
//
// Nodes that no sequence holds wait in a list, longest unused first, for their page to be needed. Whoever holds a node
// holds its ancestors and lets go of them last, so a node is always behind its children in that list: what is evicted
// first is never something that another node needs.

struct NodeNumber: Hashable, Sendable {
    let value: Int32
    var index: Int { Int(value) }
    static let none = NodeNumber(value: -1)
}

struct PrefixTree {
    private static let edge = PagePool.positionsPerPage
    /// Children looked at for a common beginning.
    private static let childrenMax = 32

    private struct Node {
        var hash: UInt64
        var root: UInt64
        var parent: NodeNumber
        /// -1 for a root.
        var page: PageNumber
        var firstChild = NodeNumber.none
        var nextSibling = NodeNumber.none
        var previousSibling = NodeNumber.none
        var nextIdle = NodeNumber.none
        var previousIdle = NodeNumber.none
        var isIdle = false
    }

    private var nodes: [Node] = []
    private var tokens: [Int32] = []
    private var free: [NodeNumber] = []
    private var byHash: [UInt64: NodeNumber] = [:]
    /// By page number; -1 where the tree does not have it.
    private var byPage: [NodeNumber] = []
    private var idleFirst = NodeNumber.none
    private var idleLast = NodeNumber.none
    /// Pages in the tree.
    private(set) var count = 0

    /// Salts the hashes, so that nobody outside can aim at another's slot.
    init(salt: UInt64 = 0x6f70_656e_6c65_6467) { self.salt = salt }
    private let salt: UInt64

    // MARK: Looking

    func node(of page: PageNumber) -> NodeNumber? {
        guard page.index < byPage.count, byPage[page.index] != .none else { return nil }
        return byPage[page.index]
    }

    func page(of node: NodeNumber) -> PageNumber { nodes[node.index].page }

    /// The node after `tip` (or after the root, where that is nil) with exactly these 16 tokens.
    func child(of tip: NodeNumber?, root: UInt64, tokens edge: UnsafePointer<Int32>) -> NodeNumber? {
        guard let parent = tip ?? self.root(root) else { return nil }
        guard let found = byHash[hash(of: parent, edge)] else { return nil }
        return nodes[found.index].parent == parent && common(found, edge, Self.edge) == Self.edge ? found : nil
    }

    /// The child whose tokens begin with as many of these as any, and how many: what copy on write starts from.
    func beginning(
        after tip: NodeNumber?, root: UInt64, tokens edge: UnsafePointer<Int32>, count: Int
    ) -> (node: NodeNumber, count: Int)? {
        guard count > 0, let parent = tip ?? self.root(root) else { return nil }
        var best: (node: NodeNumber, count: Int)?
        var child = nodes[parent.index].firstChild
        var seen = 0
        while child != .none, seen < Self.childrenMax {
            let same = common(child, edge, min(count, Self.edge))
            if same > best?.count ?? 0 { best = (child, same) }
            child = nodes[child.index].nextSibling
            seen += 1
        }
        return best
    }

    private func root(_ key: UInt64) -> NodeNumber? {
        guard let found = byHash[rootHash(key)], nodes[found.index].parent == .none, nodes[found.index].root == key
        else { return nil }
        return found
    }

    private func common(_ node: NodeNumber, _ edge: UnsafePointer<Int32>, _ count: Int) -> Int {
        let base = node.index * Self.edge
        var same = 0
        while same < count, tokens[base + same] == edge[same] { same += 1 }
        return same
    }

    private func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    private func rootHash(_ key: UInt64) -> UInt64 { mix(mix(salt) ^ key) }

    private func hash(of parent: NodeNumber, _ edge: UnsafePointer<Int32>) -> UInt64 {
        var hash = nodes[parent.index].hash
        for index in stride(from: 0, to: Self.edge, by: 2) {
            let pair = UInt64(UInt32(bitPattern: edge[index])) << 32 | UInt64(UInt32(bitPattern: edge[index + 1]))
            hash = mix(hash ^ pair)
        }
        return hash
    }

    // MARK: Growing

    /// Puts a page behind `tip`. Nil where another node has its hash: then the page stays its sequence's alone.
    mutating func insert(
        after tip: NodeNumber?, root key: UInt64, tokens edge: UnsafePointer<Int32>, page: PageNumber
    ) -> NodeNumber? {
        guard let parent = tip ?? root(key) ?? makeRoot(key) else { return nil }
        let hash = hash(of: parent, edge)
        guard byHash[hash] == nil else { return nil }
        let node = make(Node(hash: hash, root: key, parent: parent, page: page))
        for index in 0..<Self.edge { tokens[node.index * Self.edge + index] = edge[index] }
        let first = nodes[parent.index].firstChild
        nodes[node.index].nextSibling = first
        if first != .none { nodes[first.index].previousSibling = node }
        nodes[parent.index].firstChild = node
        while byPage.count <= page.index { byPage.append(.none) }
        byPage[page.index] = node
        count += 1
        return node
    }

    private mutating func makeRoot(_ key: UInt64) -> NodeNumber? {
        let hash = rootHash(key)
        guard byHash[hash] == nil else { return nil }
        return make(Node(hash: hash, root: key, parent: .none, page: PageNumber(value: -1)))
    }

    private mutating func make(_ node: Node) -> NodeNumber {
        let number: NodeNumber
        if let last = free.popLast() {
            number = last
            nodes[number.index] = node
        } else {
            number = NodeNumber(value: Int32(nodes.count))
            nodes.append(node)
            for _ in 0..<Self.edge { tokens.append(0) }
        }
        byHash[node.hash] = number
        return number
    }

    // MARK: Idleness

    mutating func becomesIdle(_ node: NodeNumber) {
        precondition(!nodes[node.index].isIdle)
        nodes[node.index].isIdle = true
        nodes[node.index].previousIdle = idleLast
        nodes[node.index].nextIdle = .none
        if idleLast == .none { idleFirst = node } else { nodes[idleLast.index].nextIdle = node }
        idleLast = node
    }

    mutating func becomesHeld(_ node: NodeNumber) {
        guard nodes[node.index].isIdle else { return }
        nodes[node.index].isIdle = false
        let before = nodes[node.index].previousIdle, after = nodes[node.index].nextIdle
        if before == .none { idleFirst = after } else { nodes[before.index].nextIdle = after }
        if after == .none { idleLast = before } else { nodes[after.index].previousIdle = before }
    }

    /// Forgets the node that was idle longest and answers its page.
    mutating func evict() -> PageNumber? {
        guard idleFirst != .none else { return nil }
        let node = idleFirst
        precondition(nodes[node.index].firstChild == .none, "a page was idle before those behind it")
        becomesHeld(node)
        let page = nodes[node.index].page
        byPage[page.index] = .none
        count -= 1
        remove(node)
        return page
    }

    private mutating func remove(_ node: NodeNumber) {
        let gone = nodes[node.index]
        byHash[gone.hash] = nil
        free.append(node)
        guard gone.parent != .none else { return }
        if gone.previousSibling == .none {
            nodes[gone.parent.index].firstChild = gone.nextSibling
        } else {
            nodes[gone.previousSibling.index].nextSibling = gone.nextSibling
        }
        if gone.nextSibling != .none { nodes[gone.nextSibling.index].previousSibling = gone.previousSibling }
        let parent = nodes[gone.parent.index]
        if parent.parent == .none, parent.firstChild == .none { remove(gone.parent) }
    }
}
