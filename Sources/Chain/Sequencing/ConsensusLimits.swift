// Every bound of consensus in one place. Times are settings of a peer; the counts protect its memory.

import Ledger
package import Primitives

package struct ConsensusLimits: Hashable, Sendable {
    /// How long a view with work to do may last before its members give up on the leader.
    package var leaderTimeout: Span = .seconds(2)
    /// The longest that doubling after every lost view makes of it.
    package var leaderTimeoutMax: Span = .seconds(32)
    /// How often an idle chain makes an empty batch.
    package var heartbeat: Span = .seconds(30)
    /// A leader gathers work for this long after the view began.
    package var batchIntervalMin: Span = .milliseconds(200)
    /// How long a leader without work waits for a batch before his to become final, before he adds one on top.
    package var finalizeGrace: Span = .seconds(1)
    /// How often a member repeats where it stands while something is undecided.
    package var repeatInterval: Span = .seconds(1)
    /// How often the same missing thing is asked for.
    package var retryInterval: Span = .seconds(1)
    /// How long a batch that others have made final may be on its way before it is fetched.
    package var fetchGrace: Span = .milliseconds(250)
    /// Without a final batch for this long while there is work, the chain counts as stalled.
    package var stalledAfter: Span = .seconds(60)

    package init() {}

    /// Votes for views further ahead are dropped; certificates are not.
    static let viewsAheadMax: UInt64 = 16
    /// Undecided views that are kept. A quorum that loses this many in a row stops changing views.
    static let viewsMax: UInt64 = 1024
    /// Headers ahead of the final one that votes may name.
    static let heightsAheadMax: UInt64 = 64
    static let votesPerMessageMax = 64
    static let certificatesPerMessageMax = 8
    static let wantedMax = 32
    /// Batches asked for at once.
    static let batchesPerFetchMax: UInt64 = 64
    package static let messageBytesMax = LedgerLimits.batchBytesMax + LedgerLimits.certificateBytesMax + 1024
}
