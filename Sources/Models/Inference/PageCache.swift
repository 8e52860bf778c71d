// A sequence's way to its pages: found where an earlier prompt left them, taken where there is room, at the price of the
// page that was idle longest where there is none. What a page holds depends only on the tokens before its end, the adapter
// and the model, bit for bit (Protocol/numerics.md): so a found page is as good as a computed one.
//
//     prompt: [16 found][16 found][9 found, copied on write][computed …]

/// Where a sequence stands in the cache.
struct CacheCursor {
    let table: PageTable
    let root: UInt64
    /// The node of the last page that is in the tree; nil before the first.
    fileprivate var tip: NodeNumber?
    /// Leading pages that are in the tree.
    fileprivate(set) var shared = 0
    /// False once a page could not be put into the tree: those behind it cannot either.
    fileprivate var publishes = true

    init(capacity: Int, root: UInt64) {
        table = PageTable(capacity: capacity)
        self.root = root
    }
}

final class PageCache {
    private static let edge = PagePool.positionsPerPage

    let pool: PagePool
    private let keeps: Bool
    private var tree = PrefixTree()
    private(set) var evictions: UInt64 = 0
    /// Whether copies are written down for others to repeat.
    private let notesCopies: Bool
    private var copies: [(from: PageNumber, to: PageNumber)] = []

    /// - Parameter keeps: false for a cache that forgets a page with its last holder.
    init(pool: PagePool, keeps: Bool, notesCopies: Bool = false) {
        self.pool = pool
        self.keeps = keeps
        self.notesCopies = notesCopies
    }

    /// Pages that can be had without taking them from a sequence.
    var available: Int { pool.pagesFree + pool.pagesIdle }
    var pagesInTree: Int { tree.count }

    // MARK: Taking

    /// One page more at the table's end; false where every page is held.
    func grow(_ cursor: CacheCursor) -> Bool {
        guard let page = takePage() else { return false }
        cursor.table.append(page, pool.bytes(of: page))
        return true
    }

    private func takePage() -> PageNumber? {
        if let page = pool.take() { return page }
        guard let idle = tree.evict() else { return nil }
        evictions += 1
        pool.drop(idle)
        return pool.take()
    }

    /// Gives all pages back, the last first: what is behind is evicted before what it builds upon.
    func release(_ cursor: inout CacheCursor) {
        while let page = cursor.table.removeLast() { letGo(page) }
        cursor.tip = nil
        cursor.shared = 0
        cursor.publishes = true
    }

    /// Pages that only the tree keeps become free: what belongs to them elsewhere is gone.
    func forgetIdle() {
        while let idle = tree.evict() { pool.drop(idle) }
    }

    /// What was copied since, in order.
    func takeCopies() -> [(from: PageNumber, to: PageNumber)] {
        defer { copies.removeAll(keepingCapacity: true) }
        return copies
    }

    private func letGo(_ page: PageNumber) {
        if pool.release(page), let node = tree.node(of: page) { tree.becomesIdle(node) }
    }

    private func hold(_ node: NodeNumber) -> PageNumber {
        let page = tree.page(of: node)
        tree.becomesHeld(node)
        pool.retain(page)
        return page
    }

    // MARK: Finding

    /// Puts whole pages that the tree has at the cursor's place, where the sequence stands at a page's beginning and has
    /// computed nothing in its own page there. Answers how many positions are cached then.
    /// - Parameter limit: positions that may be taken from the cache; the sequence computes those behind.
    func find(_ cursor: inout CacheCursor, tokens: [Int32], cached: Int, limit: Int) -> Int {
        guard keeps, cursor.publishes, cached.isMultiple(of: Self.edge), cursor.shared == cached / Self.edge else {
            return cached
        }
        var cached = cached
        tokens.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            while cached + Self.edge <= min(limit, buffer.count),
                let node = tree.child(of: cursor.tip, root: cursor.root, tokens: base + cached)
            {
                put(node, at: cached / Self.edge, &cursor)
                cached += Self.edge
            }
        }
        return cached
    }

    private func put(_ node: NodeNumber, at index: Int, _ cursor: inout CacheCursor) {
        let page = hold(node)
        if index < cursor.table.count {
            let own = cursor.table[index]
            cursor.table.replace(index, by: page, pool.bytes(of: page))
            letGo(own)
        } else {
            cursor.table.append(page, pool.bytes(of: page))
        }
        cursor.tip = node
        cursor.shared = index + 1
    }

    /// Copies the beginning of a page that another prompt shares with this one up to some token within it into the
    /// sequence's own page, which it has already. Answers how many positions are cached then.
    func copyBeginning(_ cursor: CacheCursor, tokens: [Int32], cached: Int, limit: Int) -> Int {
        guard keeps, cursor.publishes, cached.isMultiple(of: Self.edge), cursor.shared == cached / Self.edge,
            cursor.table.count > cached / Self.edge
        else { return cached }
        let count = min(limit, tokens.count) - cached
        let found = tokens.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap {
                tree.beginning(after: cursor.tip, root: cursor.root, tokens: $0 + cached, count: count)
            }
        }
        guard let found else { return cached }
        let own = cursor.table[cached / Self.edge], other = tree.page(of: found.node)
        pool.bytes(of: own).copyMemory(from: pool.bytes(of: other), byteCount: pool.pageBytes)
        if notesCopies { copies.append((other, own)) }
        return cached + found.count
    }

    /// Whether the next 16 tokens of both begin at the same place: then one of the two computes them.
    func isSamePage(_ left: CacheCursor, _ leftTokens: [Int32], _ right: CacheCursor, _ rightTokens: [Int32]) -> Bool {
        guard keeps, left.publishes, right.publishes, left.root == right.root, left.tip == right.tip,
            left.shared == right.shared
        else { return false }
        let from = left.shared * Self.edge, to = from + Self.edge
        guard to <= leftTokens.count, to < rightTokens.count else { return false }
        for index in from..<to where leftTokens[index] != rightTokens[index] { return false }
        return true
    }

    // MARK: Publishing

    /// Puts the pages that are full by now into the tree. A page that is there already takes the place of the
    /// sequence's own.
    func publish(_ cursor: inout CacheCursor, tokens: [Int32], cached: Int) {
        guard keeps, cursor.publishes else { return }
        tokens.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            while cursor.shared < cached / Self.edge {
                let index = cursor.shared, edge = base + index * Self.edge
                if let node = tree.child(of: cursor.tip, root: cursor.root, tokens: edge) {
                    put(node, at: index, &cursor)
                    continue
                }
                let page = cursor.table[index]
                guard let node = tree.insert(after: cursor.tip, root: cursor.root, tokens: edge, page: page) else {
                    cursor.publishes = false
                    return
                }
                pool.keep(page)
                cursor.tip = node
                cursor.shared = index + 1
            }
        }
    }
}
