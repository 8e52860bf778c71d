// Integer keys to integer values in two flat arrays: the merge loop and the search for added tokens ask millions of
// times a second, and most answers are "no". Open addressing, at most half full; a file whose keys all collide is
// refused instead of slowing every answer down.

struct PairTable: Sendable {
    /// How many neighbours an entry may have pushed aside before the table is called hostile.
    private static let probesMax = 256

    private var keys: [UInt64]
    private var values: [UInt64]
    private let mask: Int

    static let none = UInt64.max

    /// Room for `count` entries.
    init(count: Int) {
        var size = 16
        while size < 2 * count { size *= 2 }
        keys = [UInt64](repeating: Self.none, count: size)
        values = [UInt64](repeating: Self.none, count: size)
        mask = size - 1
    }

    @inline(__always)
    private func slot(_ key: UInt64) -> Int {
        let mixed = (key ^ (key >> 29)) &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: (mixed ^ (mixed >> 32)) & UInt64(mask))
    }

    /// The value of a key; `none` where there is no such key.
    @inline(__always)
    subscript(key: UInt64) -> UInt64 {
        var at = slot(key)
        while true {
            let found = keys[at]
            if found == key { return values[at] }
            if found == Self.none { return Self.none }
            at = (at + 1) & mask
        }
    }

    /// Adds or replaces. False if the entry finds no place near its own, or the table is full.
    mutating func set(_ key: UInt64, _ value: UInt64) -> Bool {
        var at = slot(key)
        for _ in 0..<Self.probesMax {
            if keys[at] == key || keys[at] == Self.none {
                keys[at] = key
                values[at] = value
                return true
            }
            at = (at + 1) & mask
        }
        return false
    }
}
