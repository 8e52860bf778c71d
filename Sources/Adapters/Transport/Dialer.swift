// One attempt to reach an address: the name is resolved (libuv's getaddrinfo, off the loop), its addresses are tried in
// order, and all of it has one time limit.

internal import CUV
internal import Primitives

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

final class Dialer {
    private let loop: EventLoop
    private let done: (Result<TCPChannel, TransportFault>) -> Void
    private var candidates: [SocketAddress] = []
    private var channel: TCPChannel?
    private var timer: TimerToken?
    private var isDone = false
    private var lastFault = TransportFault.timeout

    /// - Parameter done: called once, never inside `start`'s caller's own call.
    init(_ loop: EventLoop, _ done: @escaping (Result<TCPChannel, TransportFault>) -> Void) {
        self.loop = loop
        self.done = done
    }

    func start(_ address: Multiaddr, limits: SwarmLimits) {
        timer = loop.schedule(after: limits.dialTime) { [self] in finish(.failure(.timeout)) }
        if let direct = SocketAddress(address) {
            candidates = [direct]
            loop.schedule(after: .zero) { [self] in tryNext() }
        } else if let (name, port, family) = Self.named(address) {
            resolve(name, port, family, countMax: limits.resolvedAddressesMax)
        } else {
            loop.schedule(after: .zero) { [self] in finish(.failure(.unsupportedAddress(address))) }
        }
    }

    func cancel() {
        finish(.failure(.stopped))
    }

    private static func named(_ address: Multiaddr) -> (name: String, port: UInt16, family: Int32)? {
        let parts = address.components
        guard parts.count >= 2, case .tcp(let port) = parts[1] else { return nil }
        switch parts[0] {
        case .dns(let name): return (name, port, AF_UNSPEC)
        case .dns4(let name): return (name, port, AF_INET)
        case .dns6(let name): return (name, port, AF_INET6)
        default: return nil
        }
    }

    private final class Resolution {
        let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
        let dialer: Dialer
        let port: UInt16
        let countMax: Int

        init(_ dialer: Dialer, _ port: UInt16, _ countMax: Int) {
            self.dialer = dialer
            self.port = port
            self.countMax = countMax
        }

        deinit { request.deallocate() }
    }

    private func resolve(_ name: String, _ port: UInt16, _ family: Int32, countMax: Int) {
        var hints = addrinfo()
        hints.ai_family = family
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let resolution = Resolution(self, port, countMax)
        resolution.request.pointee.data = Unmanaged.passRetained(resolution).toOpaque()
        let code = uv_getaddrinfo(
            loop.raw, resolution.request,
            { request, status, list in
                guard let data = request?.pointee.data else { return }
                let resolution = Unmanaged<Resolution>.fromOpaque(data).takeRetainedValue()
                resolution.dialer.resolved(status, list, resolution)
                if let list { uv_freeaddrinfo(list) }
            }, name, nil, &hints)
        if code != 0 {
            Unmanaged.passUnretained(resolution).release()
            loop.schedule(after: .zero) { [self] in finish(.failure(TransportFault("resolve \(name)", code))) }
        }
    }

    private func resolved(_ status: Int32, _ list: UnsafeMutablePointer<addrinfo>?, _ resolution: Resolution) {
        guard !isDone else { return }
        guard status == 0 else { return finish(.failure(TransportFault("resolve the name", status))) }
        var entry = list
        while let current = entry, candidates.count < resolution.countMax {
            if let pointer = current.pointee.ai_addr, let found = SocketAddress(UnsafePointer(pointer)),
                let address = SocketAddress(ip: found.ip, port: resolution.port)
            {
                candidates.append(address)
            }
            entry = current.pointee.ai_next
        }
        tryNext()
    }

    private func tryNext() {
        guard !isDone else { return }
        guard !candidates.isEmpty else { return finish(.failure(lastFault)) }
        let address = candidates.removeFirst()
        let next: TCPChannel
        do { next = try TCPChannel(loop) } catch { return finish(.failure(error)) }
        channel = next
        next.connect(to: address) { [self] fault in
            guard let fault else { return finish(.success(next)) }
            lastFault = fault
            next.close()
            channel = nil
            tryNext()
        }
    }

    private func finish(_ result: Result<TCPChannel, TransportFault>) {
        guard !isDone else { return }
        isDone = true
        if let timer { loop.cancel(timer) }
        if case .failure = result { channel?.close() }
        channel = nil
        candidates = []
        done(result)
    }
}
