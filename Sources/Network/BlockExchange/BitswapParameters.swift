// Every number of the Bitswap engine. The specification (specs.ipfs.tech/bitswap-protocol) names the 2 MiB block and the
// 4 MiB message; the rest are our limits and our patience.

package import Primitives

package struct BitswapParameters: Sendable {
    /// Multistream name. Both sides send on a stream that they open themselves and read every stream of the other.
    package static let protocolID = "/ipfs/bitswap/1.2.0"

    // MARK: Sizes

    package var blockBytesMax = 2 << 20
    package var messageBytesMax = 4 << 20
    package var entriesPerMessageMax = 1_024
    package var presencesPerMessageMax = 4_096

    // MARK: Asking

    package var sessionsMax = 256
    package var providersPerSessionMax = 64
    /// Blocks wanted in all sessions together.
    package var wantsMax = 8_192
    /// Blocks asked of one peer at a time: at first, and at most after they have come in time.
    package var windowFirst = 4
    package var windowMax = 32
    /// A peer that owes blocks and sends none for this long has stalled: its requests go elsewhere.
    package var patience = Span.seconds(5)
    /// A block that nobody has is asked for again after this.
    package var retry = Span.seconds(10)
    /// Blocks had or given up recently, to tell a late duplicate from a block that nobody asked for.
    package var recentMax = 16_384

    // MARK: Answering

    package var peersMax = 1_024
    /// Wants that one peer may have with us.
    package var wantsPerPeerMax = 1_024
    /// Blocks being read from the store for one peer, and for all.
    package var loadsPerPeerMax = 4
    package var loadsMax = 64

    package init() {}
}
