// What a peer that computes some of a model's layers is asked in one message (Protocol/layers.md): pages to copy, then rows
// of the residual stream, each at its place in a sequence's pages.

package import Primitives

package struct LayerWork: Hashable, Sendable {
    package static let rowsBytesMax = 1 << 20
    package static let segmentsMax = 256
    package static let copiesMax = 1024
    /// Page numbers of all segments.
    package static let pageNumbersMax = 1 << 17
    package static let positionsPerPage = 16

    /// The second page becomes a copy of the first.
    package struct Copy: Hashable, Sendable {
        package let from: UInt32
        package let to: UInt32

        package init(from: UInt32, to: UInt32) {
            self.from = from
            self.to = to
        }
    }

    /// Consecutive positions of one sequence.
    package struct Segment: Hashable, Sendable {
        /// Of positions 0 to `start + count`.
        package let pages: [UInt32]
        package let start: Int
        package let count: Int

        package init(pages: [UInt32], start: Int, count: Int) {
            self.pages = pages
            self.start = start
            self.count = count
        }

        /// Positions [from, to) of it, counted from its first.
        fileprivate func part(_ from: Int, _ to: Int) -> Self {
            let pageCount = (start + to + positionsPerPage - 1) / positionsPerPage
            return Self(pages: Array(pages.prefix(pageCount)), start: start + from, count: to - from)
        }
    }

    package var copies: [Copy]
    package var segments: [Segment]
    /// Of all segments' positions, in order: so many 32-bit floats each, little-endian.
    package var rows: [UInt8]

    package init(copies: [Copy] = [], segments: [Segment], rows: [UInt8]) {
        self.copies = copies
        self.segments = segments
        self.rows = rows
    }

    /// The same in messages within the limits, to be computed one after the other.
    /// - Parameter rowBytes: of one row.
    package func messages(rowBytes: Int) -> [Self] {
        let rowsMax = max(1, Self.rowsBytesMax / max(1, rowBytes))
        var messages: [Self] = []
        var next = Self(segments: [], rows: [])
        var rowCount = 0, pageCount = 0, at = 0
        func close() {
            messages.append(next)
            next = Self(segments: [], rows: [])
            rowCount = 0
            pageCount = 0
        }
        for copy in copies {
            if next.copies.count == Self.copiesMax { close() }
            next.copies.append(copy)
        }
        for segment in segments {
            var done = 0
            while done < segment.count {
                let isFull =
                    rowCount == rowsMax || next.segments.count == Self.segmentsMax
                    || (pageCount > 0 && pageCount + segment.pages.count > Self.pageNumbersMax)
                if isFull { close() }
                let count = min(segment.count - done, rowsMax - rowCount)
                let part = segment.part(done, done + count)
                next.segments.append(part)
                next.rows += rows[at..<at + count * rowBytes]
                at += count * rowBytes
                rowCount += count
                pageCount += part.pages.count
                done += count
            }
        }
        if !next.segments.isEmpty || !next.copies.isEmpty { close() }
        return messages
    }

    // MARK: Codec

    package var fields: [(String, CBOR)] {
        [
            ("copies", .bytes(Self.bytes(copies.flatMap { [$0.from, $0.to] }))),
            (
                "segments",
                .array(
                    segments.map {
                        .map([
                            "pages": .bytes(Self.bytes($0.pages)), "start": .unsigned(UInt64($0.start)),
                            "count": .unsigned(UInt64($0.count)),
                        ])
                    })
            ),
            ("rows", .bytes(rows)),
        ]
    }

    package init(_ fields: inout CBORFields) throws(CBORFault) {
        let pairs = try Self.numbers(fields.bytes("copies", max: Self.copiesMax * 8), each: 8, "copies", fields)
        copies = stride(from: 0, to: pairs.count, by: 2).map { Copy(from: pairs[$0], to: pairs[$0 + 1]) }
        segments = []
        var pageCount = 0
        for item in try fields.array("segments", max: Self.segmentsMax) {
            var entry = try CBORFields(item, "LayerWork.segments")
            let pages = try Self.numbers(entry.bytes("pages", max: Self.pageNumbersMax * 4), each: 4, "pages", entry)
            let start = Int(try entry.unsigned("start", max: 1 << 32)),
                count = Int(try entry.unsigned("count", max: 1 << 20))
            try entry.finish()
            pageCount += pages.count
            guard count > 0 else { throw fields.fault("segments", "has one without positions") }
            guard pages.count == (start + count + Self.positionsPerPage - 1) / Self.positionsPerPage else {
                throw fields.fault("segments", "has more or fewer pages than its positions need")
            }
            segments.append(Segment(pages: pages, start: start, count: count))
        }
        guard pageCount <= Self.pageNumbersMax else {
            throw fields.fault("segments", "has more than \(Self.pageNumbersMax) page numbers")
        }
        rows = try fields.bytes("rows", max: Self.rowsBytesMax)
    }

    private static func bytes(_ numbers: [UInt32]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(numbers.count * 4)
        for number in numbers {
            bytes.append(UInt8(truncatingIfNeeded: number >> 24))
            bytes.append(UInt8(truncatingIfNeeded: number >> 16))
            bytes.append(UInt8(truncatingIfNeeded: number >> 8))
            bytes.append(UInt8(truncatingIfNeeded: number))
        }
        return bytes
    }

    private static func numbers(
        _ bytes: [UInt8], each: Int, _ key: String, _ fields: CBORFields
    ) throws(CBORFault) -> [UInt32] {
        guard bytes.count.isMultiple(of: each) else { throw fields.fault(key, "is cut short") }
        var numbers: [UInt32] = []
        numbers.reserveCapacity(bytes.count / 4)
        for at in stride(from: 0, to: bytes.count, by: 4) {
            numbers.append(bytes[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) })
        }
        return numbers
    }
}

/// Layers of a model that a peer computes for others, as adverts say it.
package struct ServedLayers: Hashable, Sendable {
    package var model: CID
    package var name: String
    package var precision: String
    /// Revision of Protocol/numerics.md.
    package var numerics: UInt64
    package var layers: Range<Int>

    package init(model: CID, name: String, precision: String, numerics: UInt64, layers: Range<Int>) {
        self.model = model
        self.name = name
        self.precision = precision
        self.numerics = numerics
        self.layers = layers
    }

    package static let layersMax = 4096

    package var cbor: CBOR {
        .map([
            "model": .link(model), "name": .text(name), "precision": .text(precision), "numerics": .unsigned(numerics),
            "from": .unsigned(UInt64(layers.lowerBound)), "layers": .unsigned(UInt64(layers.count)),
        ])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "ServedLayers")
        model = try fields.link("model")
        name = try fields.text("name", max: FolderManifest.nameBytesMax)
        precision = try fields.text("precision", max: 16)
        numerics = try fields.unsigned("numerics")
        let from = Int(try fields.unsigned("from", max: UInt64(Self.layersMax)))
        let count = Int(try fields.unsigned("layers", max: UInt64(Self.layersMax)))
        guard count > 0 else { throw fields.fault("layers", "is zero") }
        layers = from..<from + count
        try fields.finish()
    }
}
