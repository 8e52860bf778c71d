// Connections and streams between the peers, at the level of messages: what TCP, Noise and Yamux together give. Messages
// of one stream keep their order and come once or, when the connection breaks, not at all; streams do not wait for each
// other. A connection that broke is noticed by its two ends at two moments, and until both have, there is no new one.

import NodeCore
import Primitives

/// A stream, from the peer that opened it to the one that accepted it.
struct Pipe {
    let link: Int
    let opener: Int
    let acceptor: Int
    let protocolName: String
    /// What each end calls it; nil when that end does not know it yet or any more.
    var openerStream: StreamID?
    var acceptorStream: StreamID?
    /// When the last message to the opener, and to the acceptor, arrives.
    var arrivals = (opener: Instant.start, acceptor: Instant.start)

    func other(than peer: Int) -> Int { peer == opener ? acceptor : opener }
    func stream(at peer: Int) -> StreamID? { peer == opener ? openerStream : acceptorStream }
}

enum PipeNews {
    case opened
    case message([UInt8])
    case ended
}

struct Link {
    let low: Int
    let high: Int
    var isUp = true
    var pipes: [Int] = []
    /// Ends that have not noticed yet that it broke.
    var unnoticed: Set<Int> = []

    func other(than peer: Int) -> Int { peer == low ? high : low }
}

struct VirtualNetwork {
    private(set) var links: [Int: Link] = [:]
    var pipes: [Int: Pipe] = [:]
    /// The link of a pair, until both ends know that it broke.
    private var pairs: [Int: Int] = [:]
    private var streams: [Int: [StreamID: Int]] = [:]
    private var lastID = 0
    private var lastInbound: UInt64 = 1

    private static func pair(_ one: Int, _ other: Int) -> Int {
        min(one, other) * SimulationOptions.peersMax + max(one, other)
    }

    func link(_ one: Int, _ other: Int) -> Int? { pairs[Self.pair(one, other)] }

    func isUp(_ link: Int) -> Bool { links[link]?.isUp ?? false }

    /// Nil where the pair has a connection, or has not noticed that it broke.
    mutating func connect(_ one: Int, _ other: Int) -> Int? {
        guard one != other, link(one, other) == nil else { return nil }
        lastID += 1
        links[lastID] = Link(low: min(one, other), high: max(one, other))
        pairs[Self.pair(one, other)] = lastID
        return lastID
    }

    /// Breaks a connection; both ends are still to notice.
    mutating func cut(_ link: Int) {
        guard var broken = links[link], broken.isUp else { return }
        broken.isUp = false
        broken.unnoticed = [broken.low, broken.high]
        links[link] = broken
    }

    /// An end has noticed, or is not there to notice.
    /// - Returns: the streams that it knew on the connection.
    mutating func noticed(_ link: Int, by peer: Int) -> [StreamID] {
        guard var broken = links[link], broken.unnoticed.remove(peer) != nil else { return [] }
        links[link] = broken
        var gone: [StreamID] = []
        for id in broken.pipes {
            guard let stream = pipes[id]?.stream(at: peer) else { continue }
            gone.append(stream)
            forget(id, at: peer)
        }
        if broken.unnoticed.isEmpty {
            for id in broken.pipes { pipes[id] = nil }
            links[link] = nil
            pairs[Self.pair(broken.low, broken.high)] = nil
        }
        return gone.sorted()
    }

    mutating func open(_ stream: StreamID, from opener: Int, to acceptor: Int, _ name: String) -> Int? {
        guard let link = link(opener, acceptor), isUp(link) else { return nil }
        lastID += 1
        pipes[lastID] = Pipe(
            link: link, opener: opener, acceptor: acceptor, protocolName: name, openerStream: stream)
        links[link]?.pipes.append(lastID)
        streams[opener, default: [:]][stream] = lastID
        return lastID
    }

    mutating func accept(_ id: Int) -> StreamID? {
        guard var pipe = pipes[id], isUp(pipe.link) else { return nil }
        lastInbound += 2
        let stream = StreamID(lastInbound)
        pipe.acceptorStream = stream
        pipes[id] = pipe
        streams[pipe.acceptor, default: [:]][stream] = id
        return stream
    }

    func pipe(of stream: StreamID, at peer: Int) -> Int? { streams[peer]?[stream] }

    mutating func forget(_ id: Int, at peer: Int) {
        guard var pipe = pipes[id], let stream = pipe.stream(at: peer) else { return }
        streams[peer]?[stream] = nil
        if peer == pipe.opener { pipe.openerStream = nil } else { pipe.acceptorStream = nil }
        pipes[id] = pipe
    }

    /// When something sent now with this latency arrives: after all that was sent before it on the stream.
    mutating func arrival(_ id: Int, to peer: Int, earliest: Instant) -> Instant {
        guard var pipe = pipes[id] else { return earliest }
        let at: Instant
        if peer == pipe.opener {
            at = max(earliest, pipe.arrivals.opener)
            pipe.arrivals.opener = at
        } else {
            at = max(earliest, pipe.arrivals.acceptor)
            pipe.arrivals.acceptor = at
        }
        pipes[id] = pipe
        return at
    }

    /// Live connections, ascending.
    var live: [Int] { links.filter { $0.value.isUp }.map(\.key).sorted() }

    func linksOf(_ peer: Int) -> [Int] {
        links.filter { $0.value.low == peer || $0.value.high == peer }.map(\.key).sorted()
    }

    /// Streams of a protocol that stand, ascending.
    func standing(_ name: String) -> [Int] {
        pipes.filter {
            $0.value.protocolName == name && $0.value.openerStream != nil && $0.value.acceptorStream != nil
                && isUp($0.value.link)
        }.map(\.key).sorted()
    }
}
