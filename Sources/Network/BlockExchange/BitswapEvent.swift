// What goes into the Bitswap engine and what comes out. The owner performs effects in the order given.

package import Primitives

/// Blocks that belong together and the peers that may have them. Named by the owner.
package struct SessionID: Hashable, Comparable, Sendable {
    package let number: UInt64

    package init(_ number: UInt64) { self.number = number }

    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

package enum BitswapEvent: Sendable {
    case connected(PeerID)
    case disconnected(PeerID)
    /// One message, without its length prefix.
    case received(PeerID, [UInt8])
    /// The peer's stream has more unsent bytes than its owner likes: send nothing large until `.writable`.
    case congested(PeerID)
    case writable(PeerID)

    // Asking
    /// Adds peers that may have the session's blocks; opens the session if it is new.
    case providers(SessionID, [PeerID])
    /// Adds blocks, the most urgent first; opens the session if it is new.
    case want(SessionID, [CID])
    case forget(SessionID, [CID])
    case close(SessionID)

    // Answering
    /// Answer to `.load`.
    case loaded(CID, [UInt8]?, for: PeerID)
    /// Answer to `.find`.
    case found(CID, Bool, for: PeerID)
    /// These blocks are now in the store: whoever waits for them is served.
    case stored([CID])

    /// At least once a second.
    case tick
}

package enum BitswapEffect: Hashable, Sendable {
    /// Send one message; the owner adds the length prefix.
    case send(PeerID, [UInt8])
    /// A block that the session wanted. It is verified.
    case block(SessionID, Block, from: PeerID)
    /// No connected provider of the session has the block. It is asked for again after `BitswapParameters.retry`, or
    /// when a provider is added.
    case unavailable(SessionID, CID)
    /// The session, or these blocks of it, are beyond a limit and were not taken.
    case refused(SessionID, [CID])
    /// Read a block from the store: answer `.loaded`.
    case load(CID, for: PeerID)
    /// Look whether the store has a block: answer `.found`.
    case find(CID, for: PeerID)
    /// The store returned bytes that are not the block. They were not sent.
    case damaged(CID)
    case fault(PeerID, BitswapFault)
}

/// What a peer did wrong. Naming it is the engine's part, the penalty is its owner's.
package enum BitswapFault: Error, Hashable, Sendable {
    case messageTooLarge(bytes: Int, bytesMax: Int)
    case malformedMessage(String)
    case blockTooLarge(bytes: Int, bytesMax: Int)
    /// A block came whose hash nobody asked for while this peer owed us others: damaged or made up. The peer is asked
    /// for nothing more in its sessions.
    case corruptBlock(got: CID)
    /// A block came from a peer that owed us none.
    case unwantedBlock(CID)
    /// No block for `BitswapParameters.patience` while it owed us some.
    case stalled(requests: Int)
    /// Said that it has the block, then that it has not.
    case brokenPromise(CID)
    case wantListFull(max: Int)
    case tooManyPeers(max: Int)
}
