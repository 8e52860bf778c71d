// What a row says as a set of short byte runs, and how alike two such sets are. Five bytes fit one number, so a set is
// exact: nothing collides. Protocol/attribution.md, Near duplicates.

package enum Shingles {
    package static let width = 5
    /// Texts shorter than this are told apart by their question too.
    package static let lonelyBytesMin = 24
    /// Rows are near duplicates when so much of what either says is in both: 8/10. (Of the starter's rows those between 7/10 and 8/10 say different things in one form.)
    package static let likenessNumerator = 8
    package static let likenessDenominator = 10

    /// The text that is compared.
    package static func text(of row: Row) -> [UInt8] {
        let completion = Row.normalise(row.completion)
        guard completion.count < lonelyBytesMin else { return completion }
        return Row.normalise(row.prompt) + [0] + completion
    }

    /// Ascending, each once; never empty.
    package static func set(of text: some Collection<UInt8>) -> [UInt64] {
        guard text.count >= width else {
            // The leading 1 keeps a short text apart from every run of five, and from its own zero bytes.
            return [text.reduce(1) { $0 << 8 | UInt64($1) } | 1 << 48]
        }
        var shingles: [UInt64] = []
        shingles.reserveCapacity(text.count)
        var window: UInt64 = 0
        for (place, byte) in text.enumerated() {
            window = (window << 8 | UInt64(byte)) & 0xff_ffff_ffff
            if place >= width - 1 { shingles.append(window) }
        }
        shingles.sort()
        var kept = 0
        for place in shingles.indices where place == 0 || shingles[place] != shingles[kept - 1] {
            shingles[kept] = shingles[place]
            kept += 1
        }
        shingles.removeLast(shingles.count - kept)
        return shingles
    }

    /// Whether two ascending sets share at least 8/10 of their union.
    package static func alike(_ one: [UInt64], _ other: [UInt64]) -> Bool {
        let (small, large) = one.count <= other.count ? (one.count, other.count) : (other.count, one.count)
        guard small * likenessDenominator >= large * likenessNumerator else { return false }
        var both = 0
        AscendingSets.common(one, other) { _ in both += 1 }
        return both * likenessDenominator >= (one.count + other.count - both) * likenessNumerator
    }
}
