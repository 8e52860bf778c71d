// What lies inside one page of the key/value cache:
//
//     page: [layer][kv head] { keys [head_dim][16]   values [16][value_dim rounded up to 16] }
//     int8:                  { keys, a scale a position   values, a scale a position }
//           [stage] { rows [16][hidden] }
//
// The layers are those that are computed here. What is sent to a stage elsewhere lies behind them: it is what the stage's
// keys and values are made of, and another peer can make them again.
// Keys lie so that a lane is a position, values so that a lane is a channel: Protocol/numerics.md. Who counts, shares and
// evicts pages (PagePool, PrefixTree, PageCache) knows only `pageBytes`.

/// How keys and values are kept. Attention reads back what was kept, so this changes an answer's bits.
package enum CachePrecision: String, Hashable, Sendable, CaseIterable {
    case f32
    case int8
}

struct PageLayout: Hashable, Sendable {
    let precision: CachePrecision
    /// Of one layer and key/value head: keys, then values.
    let keyBytes: Int
    let headBytes: Int
    /// Of all layers; behind them are the rows of the first stage.
    let layerBytes: Int
    /// Of one stage's rows.
    let stageBytes: Int
    let pageBytes: Int

    /// - Parameters:
    ///   - layers: computed here; nil: all.
    ///   - stages: computed elsewhere.
    init(config: ModelConfig, precision: CachePrecision, layers: Int? = nil, stages: Int = 0) {
        self.precision = precision
        let keys = config.headDimension, values = (config.valueDimension + 15) / 16 * 16
        let positions = PagePool.positionsPerPage
        let element = precision == .int8 ? 1 : 4, scales = precision == .int8 ? 4 * positions : 0
        // A head begins at a whole line.
        keyBytes = (keys * positions * element + scales + 63) / 64 * 64
        headBytes = keyBytes + (values * positions * element + scales + 63) / 64 * 64
        layerBytes = (layers ?? config.layers) * config.keyValueHeads * headBytes
        stageBytes = config.hidden * positions * 4
        // A page is never empty: it is counted by its bytes.
        pageBytes = max(64, layerBytes + stages * stageBytes)
    }
}

extension ModelConfig {
    /// Bytes of the cache that one position takes.
    package func cacheBytesPerPosition(_ precision: CachePrecision) -> Int {
        PageLayout(config: self, precision: precision).pageBytes / PagePool.positionsPerPage
    }
}
