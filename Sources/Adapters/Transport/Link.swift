// One connection of the swarm: a Wire core and the socket that it speaks through. Every callback of the socket runs the
// core at once, on the loop, and performs its effects in order; what an owner does inside an event is queued behind the
// effects already waiting, so that bytes never overtake each other.

internal import Primitives
internal import Wire

final class Link {
    /// What the kernel may take without a turn of the loop, so that one fast peer does not hold up the others.
    private static let burstBytesMax = 2 * 1024 * 1024

    let id: ConnectionID
    let direction: Direction
    let remote: Multiaddr
    private let dialed: Multiaddr?
    private var core: Connection
    private let channel: TCPChannel
    private let loop: EventLoop
    private unowned let swarm: Swarm
    private(set) var peer: PeerID?
    private var waiting: [Connection.Effect] = []
    private var isPerforming = false
    private var isOver = false
    private var writtenAtOnce = 0

    init(
        id: ConnectionID, direction: Direction, remote: Multiaddr, dialed: Multiaddr?, core: consuming Connection,
        channel: TCPChannel, loop: EventLoop, swarm: Swarm
    ) {
        self.id = id
        self.direction = direction
        self.remote = remote
        self.dialed = dialed
        self.core = core
        self.channel = channel
        self.loop = loop
        self.swarm = swarm
        channel.onRead = { [weak self] bytes in self?.handle(.received(bytes)) }
        channel.onEnd = { [weak self] fault in self?.handle(.transportClosed(fault)) }
        channel.onWritten = { [weak self] count in self?.handle(.written(count)) }
    }

    func start() {
        handle(.started)
        channel.startReading()
    }

    func handle(_ event: Connection.Event) {
        guard !isOver else { return }
        waiting.append(contentsOf: core.handle(event, now: loop.now))
        perform()
    }

    func sendRoom(_ stream: StreamID) -> Int { isOver ? 0 : core.sendRoom(stream) }

    var roundTrip: Span? { core.roundTrip }

    private func perform() {
        guard !isPerforming else { return }
        isPerforming = true
        defer { isPerforming = false }
        var burst = 0
        while true {
            while !waiting.isEmpty {
                let batch = waiting
                waiting = []
                for effect in batch {
                    perform(effect)
                    if isOver { return }
                }
            }
            guard writtenAtOnce > 0 else { return }
            let count = writtenAtOnce
            writtenAtOnce = 0
            burst += count
            guard burst < Self.burstBytesMax else {
                loop.schedule(after: .zero) { [weak self] in self?.handle(.written(count)) }
                return
            }
            waiting.append(contentsOf: core.handle(.written(count), now: loop.now))
        }
    }

    private func perform(_ effect: Connection.Effect) {
        switch effect {
        case .write(let bytes):
            writtenAtOnce += channel.write(bytes)
        case .established(let peer):
            self.peer = peer
            swarm.established(self, peer)
        case .identified(let info):
            swarm.emit(.identified(id, info))
        case .streamOpened(let stream, let name, let origin):
            guard let peer else { return }
            swarm.emit(.streamOpened(key(stream), peer, name, origin))
        case .openFailed(let tag, let fault):
            swarm.emit(.openFailed(id, tag: tag, fault))
        case .message(let stream, let bytes):
            swarm.emit(.message(key(stream), bytes))
        case .streamFinished(let stream):
            swarm.emit(.streamFinished(key(stream)))
        case .streamClosed(let stream, let end):
            swarm.emit(.streamClosed(key(stream), end))
        case .highWater(let stream):
            swarm.emit(.highWater(key(stream)))
        case .writable(let stream):
            swarm.emit(.writable(key(stream)))
        case .pinged(let span):
            swarm.emit(.pinged(id, span))
        case .close(let reason):
            isOver = true
            waiting = []
            if case .transport = reason { channel.close() } else { channel.closeAfterWriting() }
            swarm.ended(self, reason, dialed: dialed)
        }
    }

    private func key(_ stream: StreamID) -> StreamKey { StreamKey(connection: id, stream: stream) }
}
