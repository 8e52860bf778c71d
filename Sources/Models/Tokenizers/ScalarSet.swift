// Sets of characters as split expressions write them: [^\s\p{L}], \p{N}, a literal. ASCII is answered from a bitmap,
// the rest from Unicode's general categories, which are looked up once and kept for the basic plane.

enum ScalarCategory {
    /// Of each scalar below 0x10000: the number of its general category, and `space`.
    static let basicPlane: [UInt8] = (0..<0x10000).map { value in
        guard let scalar = Unicode.Scalar(UInt32(value)) else { return number(.surrogate) }
        return number(scalar.properties.generalCategory) | (scalar.properties.isWhitespace ? space : 0)
    }

    static let space: UInt8 = 0x80

    /// The category's number, 0 to 29, with `space` where the scalar is white.
    @inline(__always)
    static func of(_ value: UInt32, _ plane: UnsafeBufferPointer<UInt8>) -> UInt8 {
        if value < 0x10000 { return plane[Int(value)] }
        guard let scalar = Unicode.Scalar(value) else { return number(.unassigned) }
        return number(scalar.properties.generalCategory)
    }

    private static let names: [(name: String, category: Unicode.GeneralCategory)] = [
        ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
        ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
        ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
        ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
        ("Cn", .unassigned),
    ]

    private static let numbers: [Unicode.GeneralCategory: UInt8] = Dictionary(
        uniqueKeysWithValues: names.enumerated().map { ($1.category, UInt8($0)) })

    private static func number(_ category: Unicode.GeneralCategory) -> UInt8 { numbers[category] ?? 29 }

    /// The categories that a name of one or two letters stands for, a bit each; nil for an unknown name.
    static func mask(_ name: String) -> UInt32? {
        var mask: UInt32 = 0
        for (index, entry) in names.enumerated() where entry.name == name || String(entry.name.prefix(1)) == name {
            mask |= 1 << UInt32(index)
        }
        return mask == 0 ? nil : mask
    }
}

struct ScalarSet: Hashable, Sendable {
    enum Item: Hashable, Sendable {
        case range(UInt32, UInt32)
        case categories(UInt32, negated: Bool)
        case space(negated: Bool)
        /// Alphabetic characters, marks, decimal digits, connecting punctuation; joiners for the Rust library only.
        case word(joiners: Bool, negated: Bool)
    }

    let items: [Item]
    let negated: Bool
    /// Bits of the ASCII characters that are in the set.
    let low: UInt64
    let high: UInt64

    init(_ items: [Item], negated: Bool = false) {
        self.items = items
        self.negated = negated
        var low: UInt64 = 0, high: UInt64 = 0
        ScalarCategory.basicPlane.withUnsafeBufferPointer { plane in
            for value in 0..<128 as Range<UInt32> where Self.holds(items, value, plane) != negated {
                if value < 64 { low |= 1 << UInt64(value) } else { high |= 1 << UInt64(value - 64) }
            }
        }
        self.low = low
        self.high = high
    }

    @inline(__always)
    func holds(_ value: UInt32, _ plane: UnsafeBufferPointer<UInt8>) -> Bool {
        if value < 64 { return low >> UInt64(value) & 1 != 0 }
        if value < 128 { return high >> UInt64(value - 64) & 1 != 0 }
        return Self.holds(items, value, plane) != negated
    }

    private static let wordCategories: UInt32 =
        ["M", "Nd", "Pc"].reduce(0) { $0 | (ScalarCategory.mask($1) ?? 0) }

    private static func holds(_ items: [Item], _ value: UInt32, _ plane: UnsafeBufferPointer<UInt8>) -> Bool {
        let category = ScalarCategory.of(value, plane)
        for item in items {
            switch item {
            case .range(let first, let last):
                if value >= first, value <= last { return true }
            case .categories(let mask, let negated):
                if (mask >> UInt32(category & 0x1f) & 1 != 0) != negated { return true }
            case .space(let negated):
                if (category & ScalarCategory.space != 0) != negated { return true }
            case .word(let joiners, let negated):
                let isWord =
                    wordCategories >> UInt32(category & 0x1f) & 1 != 0
                    || Unicode.Scalar(value)?.properties.isAlphabetic == true
                    || (joiners && (value == 0x200c || value == 0x200d))
                if isWord != negated { return true }
            }
        }
        return false
    }
}
