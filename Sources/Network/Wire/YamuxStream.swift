// One stream of a Yamux session: two windows, two ends, and what waits to be sent.
//
//     SYN sent or read ─▶ open ─┬─ FIN sent ─▶ half closed (we only read) ──┬─▶ gone
//                               └─ FIN read ─▶ half closed (we only send) ──┘
//     RST in either direction: gone at once

internal import Primitives

struct YamuxStream: Sendable {
    enum End: Sendable { case open, finishing, finished }

    /// What we may still send.
    var sendWindow = YamuxLimits.windowBytesInitial
    /// What the peer may still send.
    var receiveLeft = YamuxLimits.windowBytesInitial
    /// What the peer may have outstanding when everything is consumed.
    var receiveWindow = YamuxLimits.windowBytesInitial
    /// Consumed, and not yet given back to the peer.
    var uncredited = 0
    var lastCredit: Instant
    var outgoing = ByteQueue()
    var local = End.open
    var remoteFinished = false
    var isAcknowledged: Bool
    /// Whether the stream stands in the line of those that have something to send.
    var isQueued = false
    /// Whether its owner was told to stop, and is to be told when to go on.
    var isAboveHighWater = false

    init(isInbound: Bool, now: Instant) {
        isAcknowledged = isInbound
        lastCredit = now
    }

    var canSend: Bool {
        outgoing.isEmpty ? local == .finishing : sendWindow > 0
    }

    /// Credit is due once half of the window is used up. A peer that used up half of it in less than two round trips is
    /// held back by the window, not by the network, and gets a window twice as large (as in QUIC and rust-yamux).
    /// - Parameter growthLeft: what the session allows windows to grow by; reduced by what is taken.
    /// - Returns: how much to grant, or nil while nothing is due.
    mutating func creditDue(
        roundTrip: Span?, windowMax: Int, growthLeft: inout Int, now: Instant
    ) -> UInt32? {
        guard !remoteFinished, uncredited >= receiveWindow / 2 else { return nil }
        var grant = uncredited
        if let roundTrip, now.since(lastCredit) < roundTrip * 2 {
            let growth = min(receiveWindow, windowMax - receiveWindow, growthLeft)
            if growth > 0 {
                receiveWindow += growth
                growthLeft -= growth
                grant += growth
            }
        }
        lastCredit = now
        uncredited = 0
        receiveLeft += grant
        return UInt32(clamping: grant)
    }
}
