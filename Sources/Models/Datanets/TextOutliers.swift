// What is odd about a row by itself: characters that nobody sees, more signs than letters, the same few words again and again.

enum TextOutliers {
    /// A text shorter than this says too little of itself.
    private static let signsMin = 16
    private static let repetitionBytesMin = 128

    static func note(_ row: Row, _ place: Int, _ notes: inout QualityNotes) {
        for text in [row.prompt, row.completion] where !text.isEmpty {
            if let fault = characters(text) {
                notes.add(.characters, place, nil, fault)
                break
            }
        }
        let normalised = Row.normalise(row.completion)
        guard normalised.count >= repetitionBytesMin else { return }
        let runs = normalised.count - Shingles.width + 1
        let different = Shingles.set(of: normalised).count
        if different * 4 < runs {
            notes.add(
                .repetition, place, nil,
                "repeats itself: of \(runs) runs of \(Shingles.width) bytes only \(different) are different")
        }
    }

    private static func characters(_ text: String) -> String? {
        var hidden: (Unicode.Scalar, Int)?
        var letters = 0
        var signs = 0
        for scalar in text.unicodeScalars {
            if isHidden(scalar) { hidden = (hidden?.0 ?? scalar, (hidden?.1 ?? 0) + 1) }
            if scalar.value < 0x80 {
                guard let byte = UInt8(exactly: scalar.value), !TextLines.isSpace(byte) else { continue }
                let isLetter = (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
                if isLetter { letters += 1 } else { signs += 1 }
            } else if Script(scalar) != nil {
                letters += 1
            } else {
                signs += 1
            }
        }
        if let (scalar, count) = hidden {
            let name = String(scalar.value, radix: 16, uppercase: true)
            return "has \(count) characters that nobody sees or reads, the first U+\(name)"
        }
        guard letters + signs >= signsMin, signs > letters else { return nil }
        return "has more signs (\(signs)) than letters and digits (\(letters))"
    }

    /// Controls, marks that turn the direction of writing, spaces without width, replacement, private use.
    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0a, 0x0d: false
        case 0x00...0x1f, 0x7f...0x9f, 0xad, 0x200b, 0x200e...0x200f, 0x202a...0x202e, 0x2060...0x2069, 0xfeff, 0xfffd,
            0xe000...0xf8ff, 0xe0000...0xe007f, 0xf0000...0x10ffff:
            true
        default: false
        }
    }
}
