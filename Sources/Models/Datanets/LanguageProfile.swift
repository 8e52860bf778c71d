// What a datanet's language looks like: how often it has each word, and which scripts its letters are of. Integers only, and
// no table but the one below, so that two peers that judge a row say the same. Function words are what gives a language
// away: they are common in every row of it, and in no row of another.

import Primitives

/// Letters by the blocks that scripts have in Unicode; punctuation and symbols are none.
enum Script: Int, CaseIterable {
    case latin, greek, cyrillic, armenian, hebrew, arabic, indic, thai, georgian, ethiopic, khmer, kana, hangul, han,
        other

    init?(_ scalar: Unicode.Scalar) {
        switch scalar.value {
        case 0x41...0x5a, 0x61...0x7a, 0xaa, 0xb5, 0xba, 0xc0...0xd6, 0xd8...0xf6, 0xf8...0x24f, 0x1e00...0x1eff:
            self = .latin
        case 0x00...0x2af, 0x2b0...0x36f, 0x2000...0x2bff, 0x3000...0x303f, 0xfe00...0xfe0f, 0xe000...0xf8ff,
            0xff00...0xff20, 0x1f000...:
            return nil
        case 0x370...0x3ff, 0x1f00...0x1fff: self = .greek
        case 0x400...0x52f: self = .cyrillic
        case 0x530...0x58f: self = .armenian
        case 0x590...0x5ff: self = .hebrew
        case 0x600...0x6ff, 0x750...0x77f, 0x8a0...0x8ff: self = .arabic
        case 0x900...0xdff: self = .indic
        case 0xe00...0xeff: self = .thai
        case 0x10a0...0x10ff: self = .georgian
        case 0x1200...0x139f: self = .ethiopic
        case 0x1780...0x17ff: self = .khmer
        case 0x3040...0x30ff: self = .kana
        case 0x1100...0x11ff, 0xac00...0xd7af: self = .hangul
        case 0x3400...0x4dbf, 0x4e00...0x9fff, 0xf900...0xfaff, 0x20000...0x3ffff: self = .han
        default: self = .other
        }
    }
}

/// The words of one row, without those that have digits.
struct RowWords {
    /// Of a prompt or completion that are looked at.
    private static let wordsMax = 256

    /// Places in a profile.
    private(set) var places: [Int] = []

    init(_ row: Row) {
        for text in [row.prompt, row.completion] {
            let bytes = Row.normalise(text)
            for word in ByteWords.ranges(bytes, max: Self.wordsMax) {
                guard !bytes[word].contains(where: { (0x30...0x39).contains($0) }) else { continue }
                let hash = NearDuplicates.mix(ByteWords.hash(bytes[word]))
                places.append(Int(truncatingIfNeeded: hash & UInt64(LanguageProfile.places - 1)))
            }
        }
    }
}

struct LanguageProfile: Sendable {
    static let places = 1 << 18
    /// Rows that make a language; of fewer nothing is judged.
    static let rowsMin = 64
    /// Words of a row that is judged.
    static let wordsMin = 8
    /// What a word that was never seen is taken to be one of.
    private static let vocabulary: UInt64 = 1 << 16

    private(set) var rowCount = 0
    private(set) var counts = [UInt32](repeating: 0, count: places)
    private(set) var total: UInt64 = 0
    private(set) var letters = [UInt64](repeating: 0, count: Script.allCases.count)
    /// Rows that say how much rows differ: every n-th, so that there are at most 1,024.
    private(set) var sample: [RowWords] = []
    private var stride = 1

    mutating func add(_ row: Row) {
        let words = RowWords(row)
        for place in words.places where counts[place] < .max { counts[place] += 1 }
        total += UInt64(words.places.count)
        for (script, count) in Self.letters(of: row).enumerated() { letters[script] += UInt64(count) }
        if rowCount.isMultiple(of: stride), words.places.count >= Self.wordsMin {
            sample.append(words)
            if sample.count == 1024 {
                sample = sample.enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element)
                stride *= 2
            }
        }
        rowCount += 1
    }

    static func letters(of row: Row) -> [Int] {
        var letters = [Int](repeating: 0, count: Script.allCases.count)
        for text in [row.prompt, row.completion] {
            for scalar in text.unicodeScalars {
                if let script = Script(scalar) { letters[script.rawValue] += 1 }
            }
        }
        return letters
    }

    /// How surprising the row's words are on average: log2 of how rare each is, 8 bits behind the point.
    /// - Parameter isCounted: whether the row is one of the profile's own; its words then do not speak for themselves.
    func surprise(_ row: RowWords, isCounted: Bool) -> Int {
        guard !row.places.isEmpty else { return 0 }
        var own: [Int: UInt32] = [:]
        if isCounted { for place in row.places { own[place, default: 0] += 1 } }
        let ownTotal = isCounted ? UInt64(row.places.count) : 0
        let whole = FixedPoint.log2(total - min(total, ownTotal) + Self.vocabulary)
        var sum: UInt64 = 0
        for place in row.places {
            let count = counts[place] - min(counts[place], own[place] ?? 0)
            sum += whole - min(whole, FixedPoint.log2(UInt64(count) + 1))
        }
        return Int(clamping: (sum / UInt64(row.places.count)) >> UInt64(FixedPoint.fractionBits - 8))
    }
}

/// Says which rows are far from a profile.
struct LanguageJudge {
    private let profile: LanguageProfile
    private let deviation: Deviation?
    private let letterCount: UInt64

    init(_ profile: LanguageProfile) {
        self.profile = profile
        var surprises = Deviation.Sample()
        for row in profile.sample { surprises.add(profile.surprise(row, isCounted: true)) }
        // Half a bit is the least that rows are taken to differ by.
        deviation = profile.rowCount >= LanguageProfile.rowsMin ? Deviation(surprises, spreadMin: 128) : nil
        letterCount = profile.letters.reduce(0, +)
    }

    func finding(_ row: Row, isCounted: Bool) -> (QualityCode, String)? {
        guard let deviation else { return nil }
        let letters = LanguageProfile.letters(of: row)
        let count = letters.reduce(0, +)
        if let main = Script.allCases.max(by: { letters[$0.rawValue] < letters[$1.rawValue] }),
            count >= 8, letters[main.rawValue] * 2 > count, profile.letters[main.rawValue] * 64 < letterCount
        {
            return (.script, "is written in \(main) letters, and of the datanet's letters less than 1 in 64 are")
        }
        let words = RowWords(row)
        guard words.places.count >= LanguageProfile.wordsMin else { return nil }
        let surprise = profile.surprise(words, isCounted: isCounted)
        guard deviation.isAbove(surprise, deviations: 4) else { return nil }
        return (
            .language,
            "is in another language, or about something else: its words are \(Self.bits(surprise)) bits surprising where"
                + " \(Self.bits(deviation.median)) are usual"
        )
    }

    private static func bits(_ value: Int) -> String { "\(value >> 8).\(((value & 255) * 10) >> 8)" }
}
