// What goes into a fetch and what comes out.

package import Primitives

/// Where a block's bytes belong: `offset` bytes into the `file`th file under the root, counted in the order of links.
package struct FilePosition: Hashable, Comparable, Sendable {
    package let file: Int
    package let offset: UInt64

    package init(file: Int, offset: UInt64) {
        self.file = file
        self.offset = offset
    }

    package static func < (left: Self, right: Self) -> Bool { (left.file, left.offset) < (right.file, right.offset) }
}

/// What the owner's store knows of a block.
package enum LocalBlock: Hashable, Sendable {
    case absent
    /// Verified when it was stored. Enough for a leaf; a node must be handed in.
    case present
    case bytes([UInt8])
}

package enum FetchEvent: Sendable {
    case start
    /// Answer to `.look`.
    case local(CID, LocalBlock)
    /// From a neighbour, by Bitswap or otherwise.
    case block(Block)
    /// Answer to `.unfinished`.
    case proceed
}

package enum FetchEffect: Hashable, Sendable {
    /// Look into the store: answer `.local`, with the bytes if `needsBytes`.
    case look(CID, needsBytes: Bool)
    /// Get these from neighbours; they are wanted in this order.
    case want([CID])
    /// Keep this new block.
    case store(Block)
    /// Content of a file, in the store by now: a leaf, once for each place where it belongs. `bytes` is nil when the
    /// owner said that it is present. The order is that of arrival, not of the file.
    case place(CID, at: FilePosition, length: UInt64, bytes: [UInt8]?)
    /// There is more to do without waiting for anyone: answer `.proceed` when the loop has time.
    case unfinished
    case progress(FetchProgress)
    case done(FetchProgress)
    /// The content itself is wrong, whoever serves it; nothing more will be asked for.
    case failed(FetchFault)
}

package struct FetchProgress: Hashable, Sendable {
    /// Distinct blocks that are here.
    package internal(set) var blocks: Int = 0
    /// Of these, how many the store had before.
    package internal(set) var blocksFoundHere: Int = 0
    /// Bytes of files that are here.
    package internal(set) var bytes: UInt64 = 0
    /// Bytes of all files whose size is known by now.
    package internal(set) var bytesKnown: UInt64 = 0
    package internal(set) var files: Int = 0
}

package enum FetchFault: Error, Hashable, Sendable {
    case malformedNode(CID, NodeFault)
    /// A block is not as long as the node above it says.
    case wrongSize(CID, expected: UInt64, got: UInt64)
    case tooDeep(CID)
    case tooManyBlocks(max: Int)
    case tooManyFiles(max: Int)
    case tooManyBytes(UInt64, max: UInt64)
    case sizeOverflow
}
