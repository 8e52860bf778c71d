// Memory for adapters, in pieces of whole 2 MiB pages where the machine gives them. Of a cold adapter's time a third and more
// was the kernel's, handing out empty pages. So one piece is kept that was touched before anybody waits for it: that of
// the adapter that had to leave last, or one that is prepared when the last load is over.

import Foundation
import Inference
import Synchronization

final class LargePages: FactorMemory {
    /// All engines' of this process: they load one after the other.
    static let adapters = LargePages()

    private static let page = 2 << 20
    /// A larger piece is given back to the machine.
    private static let spareBytesMax = 64 << 20

    /// Of this process, from `address`, which a page begins at.
    private struct Mapping: Sendable {
        let address: UInt
        let count: Int

        /// Half of it at the least would be used: what is counted as an adapter's bytes stays near what it takes.
        func fits(_ wanted: Int) -> Bool { count >= wanted && count / 2 <= wanted }

        func touch() {
            let bytes = UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(bitPattern: address), count: count)
            for offset in stride(from: 0, to: count, by: 4096) { bytes[offset] = 0 }
        }

        func unmap() { munmap(UnsafeMutableRawPointer(bitPattern: address), count) }
    }

    private let spare = Mutex<Mapping?>(nil)

    func piece(_ bytes: Int) -> (any FactorPiece)? {
        let count = Self.rounded(bytes)
        guard count > 0 else { return nil }
        let kept = spare.withLock { spare in
            defer { spare = nil }
            return spare
        }
        if let kept, kept.fits(count) { return Piece(kept, of: self) }
        // Not both: what is kept is for one adapter.
        kept?.unmap()
        return Self.map(count).map { Piece($0, of: self) }
    }

    /// Has a piece ready for the next that asks for about so many bytes. Takes some milliseconds: not for an engine's thread.
    func prepare(_ bytes: Int) {
        let count = Self.rounded(bytes)
        guard count > 0, count <= Self.spareBytesMax, !spare.withLock({ $0?.fits(count) ?? false }),
            let mapping = Self.map(count)
        else { return }
        mapping.touch()
        takeBack(mapping)
    }

    /// Gives back what is kept, when an engine has ended.
    func clear() {
        spare.withLock { spare in
            defer { spare = nil }
            return spare
        }?.unmap()
    }

    private static func rounded(_ bytes: Int) -> Int {
        (1...Int.max / 2).contains(bytes) ? (bytes + page - 1) / page * page : 0
    }

    private static func map(_ count: Int) -> Mapping? {
        guard
            let start = mmap(nil, count + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { return nil }
        let first = UInt(bitPattern: start), size = UInt(page)
        let lead = (size - first % size) % size
        Mapping(address: first, count: Int(lead)).unmap()
        Mapping(address: first + lead + UInt(count), count: page - Int(lead)).unmap()
        // A wish: a machine without such pages gives small ones.
        madvise(start + Int(lead), count, Int32(MADV_HUGEPAGE))
        return Mapping(address: first + lead, count: count)
    }

    private func takeBack(_ mapping: Mapping) {
        let surplus = spare.withLock { spare in
            guard mapping.count <= Self.spareBytesMax else { return mapping as Mapping? }
            defer { spare = mapping }
            return spare
        }
        surplus?.unmap()
    }

    /// @unchecked Sendable: whoever writes to its memory says when.
    private final class Piece: FactorPiece, @unchecked Sendable {
        let bytes: UnsafeMutableRawBufferPointer
        private let mapping: Mapping
        private let home: LargePages

        init(_ mapping: Mapping, of home: LargePages) {
            self.mapping = mapping
            self.home = home
            bytes = UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(bitPattern: mapping.address), count: mapping.count)
        }

        deinit { home.takeBack(mapping) }
    }
}
