// Rows that say the same in almost the same words are one cluster, which the earliest owns. Rows are added in the order
// in which they were committed; each joins the first owner that it is alike with, or owns a new cluster. Compared is with
// owners only: a chain of rows between two texts joins nothing, and later rows change nothing about earlier ones.
//
// Candidates are found by MinHash (Broder, 1997) in bands (Leskovec et al., Mining of Massive Datasets, 3.4), and each
// is verified by exact counts. The hash functions are keyed, or a text could be made that has what it copies in no band.
// Protocol/attribution.md, Near duplicates.

package import Primitives

/// How signatures are made and compared.
struct MinHashShape: Hashable, Sendable {
    var bands = 32
    var rowsPerBand = 4
    /// Owners of a band's bucket that are looked at, the earliest.
    var bucketMax = 64
    /// Candidates that are compared by exact counts, those that are in most bands first.
    var comparedMax = 64
}

package struct NearDuplicates: Sendable {
    package static let rowsMax = 1 << 24
    /// Of all owners' texts.
    package static let textBytesMax = 1 << 28
    private static let nobody = UInt32.max

    /// One band's hash table: chains of owners, the earliest first.
    private struct Band {
        /// By slot: first and last of the chain, and how many.
        var first: [UInt32] = Array(repeating: nobody, count: 16)
        var last: [UInt32] = Array(repeating: nobody, count: 16)
        /// By owner's number: its band's hash, and who is next in the slot.
        var hashes: [UInt64] = []
        var next: [UInt32] = []

        mutating func insert(_ hash: UInt64) {
            if hashes.count >= first.count { grow() }
            hashes.append(hash)
            next.append(nobody)
            link(UInt32(hashes.count - 1))
        }

        private mutating func link(_ number: UInt32) {
            let slot = Int(truncatingIfNeeded: hashes[Int(number)] & UInt64(first.count - 1))
            if first[slot] == nobody { first[slot] = number } else { next[Int(last[slot])] = number }
            last[slot] = number
        }

        private mutating func grow() {
            first = Array(repeating: nobody, count: first.count * 4)
            last = first
            for number in next.indices { next[number] = nobody }
            for number in hashes.indices { link(UInt32(number)) }
        }

        func each(_ hash: UInt64, max limit: Int, _ body: (UInt32) -> Void) {
            var number = first[Int(truncatingIfNeeded: hash & UInt64(first.count - 1))]
            var left = limit
            while number != nobody, left > 0 {
                if hashes[Int(number)] == hash {
                    body(number)
                    left -= 1
                }
                number = next[Int(number)]
            }
        }
    }

    private let shape: MinHashShape
    private let multipliers: [UInt64]
    private let summands: [UInt64]
    private var bands: [Band]
    /// By owner's number, from 0 in order: its row, how many shingles it has, where its text begins.
    private var rows: [UInt32] = []
    private var counts: [UInt32] = []
    private var starts: [Int] = [0]
    private var texts: [UInt8] = []
    /// Of each row, the row that owns its cluster.
    package private(set) var owners: [UInt32] = []
    /// Texts that were compared by exact counts: what clustering costs.
    private(set) var compared = 0

    /// - Parameter snapshot: what the hash functions are keyed by: nobody knows it when a row is committed.
    package init(snapshot: CID) { self.init(snapshot: snapshot, shape: MinHashShape()) }

    init(snapshot: CID, shape: MinHashShape) {
        self.shape = shape
        let key = snapshot.digest.bytes
        var multipliers: [UInt64] = []
        var summands: [UInt64] = []
        for index in 0..<UInt8(shape.bands * shape.rowsPerBand) {
            let bytes = Digest(sha256Of: [Array("openledger/1/minhash\n".utf8), key, [0, 0, 0, index]]).bytes
            multipliers.append(bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } | 1)
            summands.append(bytes.dropFirst(8).prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
        }
        self.multipliers = multipliers
        self.summands = summands
        bands = (0..<shape.bands).map { _ in Band() }
    }

    /// Takes the next row.
    /// - Returns: the row that owns its cluster, itself included; nil where there is no room, and nothing is taken.
    @discardableResult
    package mutating func add(_ row: Row) -> UInt32? { add(text: Shingles.text(of: row)) }

    mutating func add(text: [UInt8]) -> UInt32? {
        guard owners.count < Self.rowsMax, texts.count + text.count <= Self.textBytesMax else { return nil }
        let shingles = Shingles.set(of: text)
        let keys = bandKeys(shingles)
        let ordinal = UInt32(owners.count)
        if let number = owner(of: shingles, keys) {
            owners.append(rows[number])
            return rows[number]
        }
        for (band, key) in keys.enumerated() { bands[band].insert(key) }
        rows.append(ordinal)
        counts.append(UInt32(shingles.count))
        texts += text
        starts.append(texts.count)
        owners.append(ordinal)
        return ordinal
    }

    /// The first owner that is alike, by its number.
    private mutating func owner(of shingles: [UInt64], _ keys: [UInt64]) -> Int? {
        var candidates: [UInt32] = []
        for (band, key) in keys.enumerated() {
            bands[band].each(key, max: shape.bucketMax) { candidates.append($0) }
        }
        for number in likeliest(candidates, shingles.count) {
            compared += 1
            let text = texts[starts[Int(number)]..<starts[Int(number) + 1]]
            if Shingles.alike(shingles, Shingles.set(of: text)) { return Int(number) }
        }
        return nil
    }

    /// Of those that have about as many shingles, the ones that are in most bands; ascending. A text as alike as 8/10 is in
    /// thirteen bands of 32 on average, one as alike as 6/10 in four: the earliest few may be many, the likeliest are not.
    private func likeliest(_ candidates: [UInt32], _ count: Int) -> [UInt32] {
        var found: [(number: UInt32, bands: Int)] = []
        for number in candidates.sorted() {
            if found.last?.number == number {
                found[found.count - 1].bands += 1
                continue
            }
            let other = Int(counts[Int(number)])
            guard min(count, other) * Shingles.likenessDenominator >= max(count, other) * Shingles.likenessNumerator
            else { continue }
            found.append((number, 1))
        }
        if found.count > shape.comparedMax {
            found.sort { $0.bands == $1.bands ? $0.number < $1.number : $0.bands > $1.bands }
            found.removeLast(found.count - shape.comparedMax)
            found.sort { $0.number < $1.number }
        }
        return found.map(\.number)
    }

    private func bandKeys(_ shingles: [UInt64]) -> [UInt64] {
        var minima = [UInt64](repeating: .max, count: multipliers.count)
        minima.withUnsafeMutableBufferPointer { minima in
            for shingle in shingles {
                let mixed = Self.mix(shingle)
                for index in minima.indices {
                    let hash = (multipliers[index] &* mixed &+ summands[index]) >> 32
                    if hash < minima[index] { minima[index] = hash }
                }
            }
        }
        return (0..<shape.bands).map { band in
            minima[band * shape.rowsPerBand..<(band + 1) * shape.rowsPerBand].reduce(0) { Self.mix($0 ^ $1) }
        }
    }

    /// The finaliser of SplitMix64, as in Protocol/fusion.md.
    static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
