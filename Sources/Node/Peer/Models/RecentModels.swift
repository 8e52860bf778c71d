// What was read of models, kept for the next request: a few, the least recently used makes room.

import Primitives

struct RecentModels<Value> {
    private let countMax: Int
    private var entries: [CID: (value: Value, used: UInt64)] = [:]
    private var clock: UInt64 = 0

    init(countMax: Int) { self.countMax = countMax }

    var models: [CID] { entries.keys.sorted() }

    mutating func value(of model: CID) -> Value? {
        clock += 1
        entries[model]?.used = clock
        return entries[model]?.value
    }

    mutating func keep(_ value: Value, of model: CID) {
        clock += 1
        entries[model] = (value, clock)
        while entries.count > countMax,
            let oldest = entries.min(by: { ($0.value.used, $0.key) < ($1.value.used, $1.key) })?.key
        {
            entries[oldest] = nil
        }
    }
}
