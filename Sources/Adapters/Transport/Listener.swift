// One listening socket of the swarm.

internal import CUV
internal import Primitives

final class Listener {
    private let channel: TCPChannel
    private let loop: EventLoop
    private let onAccept: (TCPChannel) -> Void

    /// - Parameter onAccept: called for each connection, with its socket.
    init(
        _ loop: EventLoop, on address: SocketAddress, backlog: Int32, onAccept: @escaping (TCPChannel) -> Void
    ) throws(TransportFault) {
        self.loop = loop
        self.onAccept = onAccept
        channel = try TCPChannel(loop)
        // libuv sets SO_REUSEADDR itself; a v6 socket leaves v4 to its own listener.
        let flags = address.isIP6Address ? UInt32(UV_TCP_IPV6ONLY.rawValue) : 0
        let bound = address.withPointer { uv_tcp_bind(channel.handle, $0, flags) }
        guard bound == 0 else {
            channel.close()
            throw TransportFault("listen on \(address.multiaddr)", bound)
        }
        channel.onIncoming = { [weak self] in self?.accept() }
        let listened = channel.listen(backlog: backlog)
        guard listened == 0 else {
            channel.close()
            throw TransportFault("listen on \(address.multiaddr)", listened)
        }
    }

    /// Where it is reached.
    var addresses: [Multiaddr] { SocketAddress.local(of: channel.handle)?.reachable ?? [] }

    private func accept() {
        guard let incoming = try? TCPChannel(loop) else { return }
        do {
            try incoming.accept(from: channel.stream)
            onAccept(incoming)
        } catch {
            incoming.close()
        }
    }

    func close() { channel.close() }
}
