// The key/value cache: pages of 16 positions, each with the keys and values of every layer and key/value head.
//
//     page: [layer][kv head] { keys [head_dim][16]   values [16][head_dim rounded up to 16] }
//
// Keys lie so that a lane is a position, values so that a lane is a channel: Protocol/numerics.md. A sequence is given
// all the
// pages that it can need when it is admitted, so a running one never waits for memory and the limit is never exceeded.

final class PagePool {
    static let positionsPerPage = 16

    let floatsPerHead: Int
    let keyFloats: Int
    let pageFloats: Int
    let pagesMax: Int
    private var free: [UnsafeMutablePointer<Float>] = []
    private var made = 0

    var pagesInUse: Int { made - free.count }
    var pageBytes: Int { pageFloats * 4 }

    init(config: ModelConfig, bytesMax: Int) {
        keyFloats = config.headDimension * 16
        floatsPerHead = keyFloats + (config.headDimension + 15) / 16 * 16 * 16
        pageFloats = config.layers * config.keyValueHeads * floatsPerHead
        pagesMax = bytesMax / (pageFloats * 4)
    }

    deinit {
        for page in free { page.deallocate() }
    }

    static func pages(positions: Int) -> Int { (positions + positionsPerPage - 1) / positionsPerPage }

    func canTake(_ count: Int) -> Bool { pagesInUse + count <= pagesMax }

    /// `count` pages as the table that the attention kernel reads; nil where the limit would be exceeded.
    func take(_ count: Int) -> PageTable? {
        guard canTake(count) else { return nil }
        let table = PageTable(count: count)
        for index in 0..<count {
            if let page = free.popLast() {
                table.pages[index] = UnsafePointer(page)
            } else {
                let memory = UnsafeMutableRawPointer.allocate(byteCount: pageBytes, alignment: 64)
                let page = memory.initializeMemory(as: Float.self, repeating: 0, count: pageFloats)
                made += 1
                table.pages[index] = UnsafePointer(page)
            }
        }
        return table
    }

    func give(_ table: PageTable) {
        for index in 0..<table.count {
            if let page = table.pages[index] { free.append(UnsafeMutablePointer(mutating: page)) }
            table.pages[index] = nil
        }
    }
}

/// One sequence's pages in order of position. Its owner gives them back to the pool.
final class PageTable {
    let count: Int
    let pages: UnsafeMutablePointer<UnsafePointer<Float>?>

    init(count: Int) {
        self.count = count
        pages = .allocate(capacity: max(count, 1))
        pages.initialize(repeating: nil, count: max(count, 1))
    }

    deinit { pages.deallocate() }
}
