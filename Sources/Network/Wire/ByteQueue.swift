// Bytes in order: appended at the back, taken at the front. What is appended is kept as it came, so that a large message
// is copied only when it is taken; small pieces are joined, so that many of them cost no list of their own.

struct ByteQueue: Sendable {
    /// Pieces are joined up to this size.
    private static let joinedBytesMax = 4 * 1024
    /// Used-up pieces are struck from the list when there are this many.
    private static let usedPiecesMax = 64

    private var pieces: [[UInt8]] = []
    /// The first piece that has bytes left, and how many of its bytes are gone.
    private var first = 0
    private var offset = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        count += bytes.count
        if let last = pieces.indices.last, last >= first, pieces[last].count + bytes.count <= Self.joinedBytesMax {
            pieces[last].append(contentsOf: bytes)
        } else {
            pieces.append(bytes)
        }
    }

    /// Moves `wanted` bytes from the front to the end of `out`.
    mutating func move(_ wanted: Int, to out: inout [UInt8]) {
        precondition(wanted <= count, "no more than is there")
        count -= wanted
        var left = wanted
        while left > 0 {
            let take = min(left, pieces[first].count - offset)
            out.append(contentsOf: pieces[first][offset..<offset + take])
            left -= take
            offset += take
            if offset == pieces[first].count {
                pieces[first] = []
                first += 1
                offset = 0
            }
        }
        if first == pieces.count {
            pieces.removeAll(keepingCapacity: true)
            first = 0
        } else if first >= Self.usedPiecesMax {
            pieces.removeSubrange(0..<first)
            first = 0
        }
    }
}
