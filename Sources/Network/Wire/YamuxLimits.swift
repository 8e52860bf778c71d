// What one Yamux session may cost us.

package struct YamuxLimits: Hashable, Sendable {
    /// The protocol's initial window, in bytes, both ways.
    package static let windowBytesInitial = 256 * 1024
    /// The largest window that auto-tuning gives one stream.
    package var windowBytesMax = 16 * 1024 * 1024
    /// What all windows of the session may exceed their initial size by, together.
    package var windowGrowthBytesMax = 64 * 1024 * 1024
    package var inboundStreamsMax = 256
    package var outboundStreamsMax = 1024
    /// Streams that we opened and the peer has not yet acknowledged.
    package var unacknowledgedMax = 256
    /// Unsent control frames, in bytes; a peer that makes us owe more does not read.
    package var controlBytesMax = 64 * 1024
    /// Streams that the peer resets, or opens beyond the limit: a burst, and then so many a second.
    package var resetBurstMax: UInt64 = 256
    package var resetsPerSecondMax: UInt64 = 64
    /// Pings, empty data frames and window updates of zero: a burst, and then so many a second.
    package var idleFrameBurstMax: UInt64 = 1024
    package var idleFramesPerSecondMax: UInt64 = 128
    /// The most of one stream in a single frame, so that streams take turns.
    package var dataFrameBytesMax = NoiseSession.plaintextBytesMax - YamuxHeader.byteCount

    package init() {}
}
