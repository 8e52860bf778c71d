// The memory of the key/value cache: pages of 16 positions that are counted, never copied and never more than the budget
// allows. A page belongs to as many sequences as hold it; the prefix tree may keep one that nobody holds.
//
//     free ──take──▶ held (1) ⇄ held (n) ──last release──▶ free, or idle where the tree keeps it
//                        ▲                                             │      │
//                        └──────────────────retain─────────────────────┘      └─evict──▶ free

final class PagePool {
    static let positionsPerPage = 16

    let layout: PageLayout
    let pagesMax: Int
    private var memory: [UnsafeMutableRawPointer] = []
    /// Sequences that hold a page, by its number.
    private var holders: [Int32] = []
    private var kept: [Bool] = []
    private var free: [PageNumber] = []
    /// Pages that some sequence holds.
    private(set) var pagesHeld = 0
    /// Pages that only the prefix tree keeps.
    private(set) var pagesIdle = 0

    var pageBytes: Int { layout.pageBytes }
    /// Pages that are neither held nor kept, those not yet made included.
    var pagesFree: Int { pagesMax - pagesHeld - pagesIdle }

    /// - Parameters:
    ///   - layers: that are computed here; nil: all.
    ///   - stages: that are computed elsewhere.
    ///   - countMax: pages that those have granted.
    init(
        config: ModelConfig, bytesMax: Int, precision: CachePrecision = .f32, layers: Int? = nil, stages: Int = 0,
        countMax: Int = .max
    ) {
        layout = PageLayout(config: config, precision: precision, layers: layers, stages: stages)
        pagesMax = min(countMax, max(0, bytesMax) / max(1, layout.pageBytes))
    }

    deinit {
        for page in memory { page.deallocate() }
    }

    static func pages(positions: Int) -> Int { (positions + positionsPerPage - 1) / positionsPerPage }

    // MARK: Pages

    /// A page held once; nil where the budget allows no more.
    func take() -> PageNumber? {
        let page: PageNumber
        if let last = free.popLast() {
            page = last
        } else {
            guard memory.count < pagesMax, let number = Int32(exactly: memory.count) else { return nil }
            let bytes = UnsafeMutableRawPointer.allocate(byteCount: pageBytes, alignment: 64)
            bytes.initializeMemory(as: UInt8.self, repeating: 0, count: pageBytes)
            memory.append(bytes)
            holders.append(0)
            kept.append(false)
            page = PageNumber(value: number)
        }
        holders[page.index] = 1
        pagesHeld += 1
        return page
    }

    func retain(_ page: PageNumber) {
        if holders[page.index] == 0 {
            pagesHeld += 1
            pagesIdle -= 1
        }
        holders[page.index] += 1
    }

    /// Answers true where nobody holds the page any more.
    func release(_ page: PageNumber) -> Bool {
        precondition(holders[page.index] > 0, "a page was given back twice")
        holders[page.index] -= 1
        guard holders[page.index] == 0 else { return false }
        pagesHeld -= 1
        if kept[page.index] { pagesIdle += 1 } else { free.append(page) }
        return true
    }

    func holders(of page: PageNumber) -> Int { Int(holders[page.index]) }

    /// The tree keeps a page that somebody holds.
    func keep(_ page: PageNumber) { kept[page.index] = true }

    /// The tree keeps it no more.
    func drop(_ page: PageNumber) {
        kept[page.index] = false
        guard holders[page.index] == 0 else { return }
        pagesIdle -= 1
        free.append(page)
    }

    func bytes(of page: PageNumber) -> UnsafeMutableRawPointer { memory[page.index] }

    // MARK: Tables

    /// `count` pages as the table that the attention kernel reads; nil where the limit would be exceeded.
    func take(_ count: Int) -> PageTable? {
        guard count <= pagesFree else { return nil }
        let table = PageTable(capacity: count)
        while table.count < count, let page = take() { table.append(page, bytes(of: page)) }
        return table
    }

    func give(_ table: PageTable) {
        while let page = table.removeLast() { _ = release(page) }
    }
}

struct PageNumber: Hashable, Sendable {
    let value: Int32
    var index: Int { Int(value) }
}

/// One sequence's pages in order of position. Its owner gives them back.
final class PageTable {
    let capacity: Int
    private(set) var count = 0
    /// What the attention kernel reads; nil from `count` on.
    let pages: UnsafeMutablePointer<UnsafeRawPointer?>
    private let numbers: UnsafeMutablePointer<PageNumber>

    init(capacity: Int) {
        self.capacity = max(capacity, 1)
        pages = .allocate(capacity: self.capacity)
        pages.initialize(repeating: nil, count: self.capacity)
        numbers = .allocate(capacity: self.capacity)
        numbers.initialize(repeating: PageNumber(value: -1), count: self.capacity)
    }

    deinit {
        pages.deallocate()
        numbers.deallocate()
    }

    subscript(index: Int) -> PageNumber {
        precondition(index >= 0 && index < count)
        return numbers[index]
    }

    func append(_ page: PageNumber, _ bytes: UnsafeMutableRawPointer) {
        precondition(count < capacity)
        numbers[count] = page
        pages[count] = UnsafeRawPointer(bytes)
        count += 1
    }

    func replace(_ index: Int, by page: PageNumber, _ bytes: UnsafeMutableRawPointer) {
        precondition(index >= 0 && index < count)
        numbers[index] = page
        pages[index] = UnsafeRawPointer(bytes)
    }

    func removeLast() -> PageNumber? {
        guard count > 0 else { return nil }
        count -= 1
        pages[count] = nil
        return numbers[count]
    }
}
