// Where an adapter's factors lie. An adapter is one piece of memory rather than hundreds: it streams better, and whoever
// hands the pieces out may know of larger pages, and of pieces that an adapter has just left.

package protocol FactorMemory: Sendable {
    /// At least so many bytes, aligned to 64, with any content; nil where there is none to be had.
    func piece(_ bytes: Int) -> (any FactorPiece)?
}

/// Gives its memory back when nobody holds it any more.
package protocol FactorPiece: AnyObject, Sendable {
    var bytes: UnsafeMutableRawBufferPointer { get }
}

/// Cuts a piece into factors, one behind the other. What does not fit is for the heap.
struct FactorCutter {
    private let piece: (any FactorPiece)?
    private var used = 0

    init(_ piece: (any FactorPiece)?) { self.piece = piece }

    static func rounded(_ bytes: Int) -> Int { (bytes + 63) & ~63 }

    mutating func cut(_ bytes: Int) -> FactorStorage {
        if let piece, bytes <= piece.bytes.count - used {
            defer { used = min(piece.bytes.count, used + Self.rounded(bytes)) }
            return FactorStorage(UnsafeMutableRawBufferPointer(rebasing: piece.bytes[used..<used + bytes]), of: piece)
        }
        return FactorStorage(.allocate(byteCount: bytes, alignment: 64), of: nil)
    }
}

/// @unchecked Sendable: who writes to it says when, see AdapterFactor.
final class FactorStorage: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
    private let piece: (any FactorPiece)?

    fileprivate init(_ bytes: UnsafeMutableRawBufferPointer, of piece: (any FactorPiece)?) {
        self.bytes = bytes
        self.piece = piece
    }

    deinit { if piece == nil { bytes.deallocate() } }
}
