// What lies inside one page of the key/value cache:
//
//     page: [layer][kv head] { keys [head_dim][16]   values [16][value_dim rounded up to 16] }
//
// Keys lie so that a lane is a position, values so that a lane is a channel: Protocol/numerics.md. Who counts, shares and
// evicts pages (PagePool, PrefixTree, PageCache) knows only `pageBytes`.

struct PageLayout: Hashable, Sendable {
    /// Of one layer and key/value head.
    let floatsPerHead: Int
    let keyFloats: Int
    let pageFloats: Int

    var pageBytes: Int { pageFloats * 4 }

    init(config: ModelConfig) {
        keyFloats = config.headDimension * PagePool.positionsPerPage
        floatsPerHead = keyFloats + (config.valueDimension + 15) / 16 * 16 * PagePool.positionsPerPage
        pageFloats = config.layers * config.keyValueHeads * floatsPerHead
    }
}
