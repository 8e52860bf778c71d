// One row of a datanet: a prompt and its completion, or a text. Its canonical form is dag-cbor, so that a row has one
// hash wherever it is computed.

package import Primitives

/// What a row says.
package enum RowContent: Hashable, Sendable {
    case pair(prompt: String, completion: String)
    case text(String)
}

package struct Row: Hashable, Sendable {
    package let content: RowContent
    /// The contributor's own name for the row.
    package let id: String?
    package let source: String?
    /// Of this row alone; nil means the contribution's.
    package let licence: String?

    package init(_ content: RowContent, id: String? = nil, source: String? = nil, licence: String? = nil) {
        self.content = content
        self.id = id
        self.source = source
        self.licence = licence
    }

    package var prompt: String {
        switch content {
        case .pair(let prompt, _): prompt
        case .text: ""
        }
    }

    /// What the row teaches: the completion, or the text.
    package var completion: String {
        switch content {
        case .pair(_, let completion): completion
        case .text(let text): text
        }
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = []
        switch content {
        case .pair(let prompt, let completion):
            pairs = [("prompt", .text(prompt)), ("completion", .text(completion))]
        case .text(let text): pairs = [("text", .text(text))]
        }
        if let id { pairs.append(("id", .text(id))) }
        if let source { pairs.append(("source", .text(source))) }
        if let licence { pairs.append(("license", .text(licence))) }
        return CBOR.map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Row")
        func text(_ key: String, _ limit: Int) throws(CBORFault) -> String? {
            guard let value = fields.optionalValue(key) else { return nil }
            guard case .text(let text) = value else { throw fields.fault(key, "is not text") }
            guard !text.isEmpty else { throw fields.fault(key, "is empty") }
            guard text.utf8.count <= limit else { throw fields.fault(key, "has more than \(limit) bytes") }
            return text
        }
        let prompt = try text("prompt", DatanetLimits.rowBytesMax)
        let completion = try text("completion", DatanetLimits.rowBytesMax)
        let whole = try text("text", DatanetLimits.rowBytesMax)
        id = try text("id", DatanetLimits.idBytesMax)
        source = try text("source", DatanetLimits.sourceBytesMax)
        licence = try text("license", DatanetLimits.licenceBytesMax)
        switch (prompt, completion, whole) {
        case (let prompt?, let completion?, nil): content = .pair(prompt: prompt, completion: completion)
        case (nil, nil, let whole?): content = .text(whole)
        default: throw fields.fault("completion", "a row has a prompt and a completion, or a text")
        }
        try fields.finish()
    }

    /// Equal for rows that differ in case and white space only.
    package var normalisedHash: Digest {
        switch content {
        case .pair(let prompt, let completion):
            Digest(sha256Of: [[0], Self.normalise(prompt), [0], Self.normalise(completion)])
        case .text(let text): Digest(sha256Of: [[1], Self.normalise(text)])
        }
    }

    /// Equal for rows that teach the same words, whatever they are asked by.
    package var completionHash: Digest { Digest(sha256: Self.normalise(completion)) }

    /// Lower case (Unicode's mapping without locale), runs of white space as one space, none at the ends.
    package static func normalise(_ text: String) -> [UInt8] {
        // Most rows are ASCII, where no table is needed: a peer reads every row of its datanets when it starts.
        text.utf8.withContiguousStorageIfAvailable(normaliseASCII).flatMap { $0 } ?? normaliseScalars(text)
    }

    /// Nil where some byte is not ASCII.
    private static func normaliseASCII(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard text.allSatisfy({ $0 < 0x80 }) else { return nil }
        return [UInt8](unsafeUninitializedCapacity: text.count) { bytes, count in
            var space = false
            for byte in text {
                if byte == 0x20 || (0x09...0x0d).contains(byte) {
                    space = count > 0
                } else {
                    if space {
                        bytes[count] = 0x20
                        count += 1
                    }
                    space = false
                    bytes[count] = (0x41...0x5a).contains(byte) ? byte | 0x20 : byte
                    count += 1
                }
            }
        }
    }

    static func normaliseScalars(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        var space = false
        for scalar in text.unicodeScalars {
            if scalar.properties.isWhitespace {
                space = !bytes.isEmpty
            } else {
                if space { bytes.append(0x20) }
                space = false
                bytes += scalar.properties.lowercaseMapping.utf8
            }
        }
        return bytes
    }
}

/// Where a row is: which shard, which place in it. A row has this address for ever.
package struct RowAddress: Hashable, Comparable, Sendable {
    package let shard: CID
    package let index: UInt32

    package init(shard: CID, index: UInt32) {
        self.shard = shard
        self.index = index
    }

    package static func < (one: Self, other: Self) -> Bool {
        one.shard == other.shard ? one.index < other.index : one.shard < other.shard
    }
}
