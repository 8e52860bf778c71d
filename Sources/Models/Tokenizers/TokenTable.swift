// The tokens of a vocabulary, byte for byte: Swift's String would hold two tokens that differ only in normal form for
// one. All texts lie in one array, found by text through a hash table and by id through an index.

struct TokenTable: Sendable {
    private static let probesMax = 4096

    private var arena: [UInt8] = []
    /// Of each entry, where its text begins; one more at the end.
    private var starts: [Int] = [0]
    private var ids: [Int32] = []
    /// Entry numbers, -1 where empty.
    private var slots: [Int32]
    /// Entry number of each id, -1 where there is none.
    private var entries: [Int32] = []
    private let mask: Int
    /// Bytes of the longest token.
    private(set) var longest = 0
    /// Entries from here on were added later: whole words to the text, but nothing that the model makes.
    private var modelEntries = Int.max

    /// Room for `count` tokens.
    init(count: Int) {
        var size = 16
        while size < 2 * count { size *= 2 }
        slots = [Int32](repeating: -1, count: size)
        mask = size - 1
        ids.reserveCapacity(count)
        starts.reserveCapacity(count + 1)
    }

    /// One more than the highest id.
    var idCount: Int { entries.count }

    @inline(__always)
    private static func hash(_ text: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        return hash ^ (hash >> 31)
    }

    @inline(__always)
    private func entry(_ text: UnsafeBufferPointer<UInt8>) -> Int? {
        var at = Int(truncatingIfNeeded: Self.hash(text)) & mask
        while true {
            let entry = slots[at]
            if entry < 0 { return nil }
            let start = starts[Int(entry)], end = starts[Int(entry) + 1]
            if end - start == text.count {
                var same = true
                for index in 0..<text.count where arena[start + index] != text[index] {
                    same = false
                    break
                }
                if same { return Int(entry) }
            }
            at = (at + 1) & mask
        }
    }

    /// What comes after this is no part of the model.
    mutating func endModel() { modelEntries = ids.count }

    /// The id of one of the model's texts, -1 where no token has it.
    @inline(__always)
    func id(_ text: UnsafeBufferPointer<UInt8>) -> Int32 {
        guard text.count <= longest, let entry = entry(text), entry < modelEntries else { return -1 }
        return ids[entry]
    }

    /// The id of any text.
    func id(_ text: [UInt8]) -> Int32? {
        text.withUnsafeBufferPointer { self.entry($0) }.map { ids[$0] }
    }

    func id(_ text: String) -> Int32? { id(Array(text.utf8)) }

    /// The text of an id; nil where the vocabulary has none.
    func text(_ id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0, Int(id) < entries.count, entries[Int(id)] >= 0 else { return nil }
        let entry = Int(entries[Int(id)])
        return arena[starts[entry]..<starts[entry + 1]]
    }

    /// Adds a token. A text that is there already keeps its id and gets this one besides. False if the table is full or
    /// its texts collide.
    mutating func add(_ text: [UInt8], id: Int32) -> Bool {
        let known = text.withUnsafeBufferPointer { self.entry($0) }
        let entry = known ?? ids.count
        if known == nil {
            guard ids.count * 2 < slots.count else { return false }
            var at = text.withUnsafeBufferPointer { Int(truncatingIfNeeded: Self.hash($0)) & mask }
            var probes = 0
            while slots[at] >= 0 {
                at = (at + 1) & mask
                probes += 1
                guard probes < Self.probesMax else { return false }
            }
            slots[at] = Int32(entry)
            arena += text
            starts.append(arena.count)
            ids.append(id)
            longest = max(longest, text.count)
        }
        while entries.count <= Int(id) { entries.append(-1) }
        entries[Int(id)] = Int32(entry)
        return true
    }
}
