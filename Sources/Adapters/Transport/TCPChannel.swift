// One TCP connection on a loop. Reads are copied out of the loop's buffer; writes go to the socket at once as far as it
// takes them, and only the rest is kept and handed to libuv.

internal import CUV
internal import Primitives

final class TCPChannel {
    private static let lingerTime = Span.seconds(2)

    private let loop: EventLoop
    let handle: UnsafeMutablePointer<uv_tcp_t>
    private var isClosed = false
    private var isReading = false
    var onRead: ([UInt8]) -> Void = { _ in }
    /// The end of the stream (nil) or the fault that ended it.
    var onEnd: (String?) -> Void = { _ in }
    /// So many bytes that `write` kept have left.
    var onWritten: (Int) -> Void = { _ in }
    /// A listening socket has a connection to accept.
    var onIncoming: () -> Void = {}
    private var onConnect: (TransportFault?) -> Void = { _ in }

    /// What libuv holds on to while a write is under way.
    private final class Write {
        let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
        let bytes: UnsafeMutableRawBufferPointer
        let channel: TCPChannel

        init(_ channel: TCPChannel, _ slice: UnsafeRawBufferPointer) {
            self.channel = channel
            bytes = .allocate(byteCount: slice.count, alignment: 16)
            bytes.copyMemory(from: slice)
        }

        deinit {
            request.deallocate()
            bytes.deallocate()
        }
    }

    init(_ loop: EventLoop) throws(TransportFault) {
        self.loop = loop
        handle = .allocate(capacity: 1)
        let code = uv_tcp_init(loop.raw, handle)
        guard code == 0 else {
            handle.deallocate()
            isClosed = true
            throw TransportFault("make a socket", code)
        }
        // Balanced in the close callback: the handle keeps its channel alive.
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    var stream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_stream_t.self)
    }

    static func from(_ data: UnsafeMutableRawPointer?) -> TCPChannel? {
        data.map { Unmanaged<TCPChannel>.fromOpaque($0).takeUnretainedValue() }
    }

    var remoteAddress: Multiaddr? { SocketAddress.remote(of: handle)?.multiaddr }

    // MARK: Beginning

    /// - Returns: 0, or libuv's code of the fault.
    func listen(backlog: Int32) -> Int32 {
        uv_listen(stream, backlog) { server, status in
            guard status == 0 else { return }
            TCPChannel.from(server?.pointee.data)?.onIncoming()
        }
    }

    func accept(from server: UnsafeMutablePointer<uv_stream_t>) throws(TransportFault) {
        let code = uv_accept(server, stream)
        guard code == 0 else { throw TransportFault("accept a connection", code) }
        uv_tcp_nodelay(handle, 1)
    }

    func connect(to address: SocketAddress, _ done: @escaping (TransportFault?) -> Void) {
        onConnect = done
        let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
        let code = address.withPointer { pointer in
            uv_tcp_connect(request, handle, pointer) { request, status in
                guard let request else { return }
                let channel = request.pointee.handle.flatMap { TCPChannel.from($0.pointee.data) }
                request.deallocate()
                channel?.connected(status)
            }
        }
        if code != 0 {
            request.deallocate()
            finishConnect(TransportFault("connect", code))
        }
    }

    private func connected(_ status: Int32) {
        guard !isClosed else { return }
        if status == 0 { uv_tcp_nodelay(handle, 1) }
        finishConnect(status == 0 ? nil : TransportFault("connect", status))
    }

    private func finishConnect(_ fault: TransportFault?) {
        let done = onConnect
        onConnect = { _ in }
        done(fault)
    }

    // MARK: Reading

    func startReading() {
        guard !isClosed, !isReading else { return }
        isReading = true
        uv_read_start(
            stream,
            { handle, _, buffer in
                let channel = TCPChannel.from(handle?.pointee.data)
                buffer?.pointee = uv_buf_init(
                    channel?.loop.readBuffer.baseAddress?.assumingMemoryBound(to: CChar.self),
                    UInt32(channel?.loop.readBuffer.count ?? 0))
            },
            { handle, count, _ in
                TCPChannel.from(handle?.pointee.data)?.read(count)
            })
    }

    private func read(_ count: Int) {
        guard !isClosed, count != 0 else { return }
        guard count > 0 else {
            uv_read_stop(stream)
            onEnd(count == Int(UV_EOF.rawValue) ? nil : TransportFault.text(Int32(truncatingIfNeeded: count)))
            return
        }
        onRead(Array(UnsafeRawBufferPointer(rebasing: loop.readBuffer[..<count])))
    }

    // MARK: Writing

    /// - Returns: how many bytes the socket took at once; `onWritten` tells of the rest.
    func write(_ bytes: [UInt8]) -> Int {
        guard !isClosed, !bytes.isEmpty else { return 0 }
        return bytes.withUnsafeBytes { all in
            let count = uv_stream_get_write_queue_size(stream) == 0 ? tryWrite(all) : 0
            if count < all.count { enqueue(UnsafeRawBufferPointer(rebasing: all[count...])) }
            return count
        }
    }

    private func tryWrite(_ bytes: UnsafeRawBufferPointer) -> Int {
        var buffer = Self.buffer(bytes)
        // A fault shows again in the write of the rest.
        return max(0, Int(uv_try_write(stream, &buffer, 1)))
    }

    private func enqueue(_ bytes: UnsafeRawBufferPointer) {
        let write = Write(self, bytes)
        var buffer = Self.buffer(UnsafeRawBufferPointer(write.bytes))
        write.request.pointee.data = Unmanaged.passRetained(write).toOpaque()
        let code = uv_write(write.request, stream, &buffer, 1) { request, status in
            guard let data = request?.pointee.data else { return }
            let write = Unmanaged<Write>.fromOpaque(data).takeRetainedValue()
            write.channel.wrote(write.bytes.count, status)
        }
        if code != 0 {
            Unmanaged.passUnretained(write).release()
            // Told on the next turn, so that no caller is called back inside its own call.
            loop.schedule(after: .zero) { [weak self] in self?.wrote(0, code) }
        }
    }

    private func wrote(_ count: Int, _ status: Int32) {
        guard !isClosed else { return }
        if status == 0 { onWritten(count) } else { onEnd(TransportFault.text(status)) }
    }

    private static func buffer(_ bytes: UnsafeRawBufferPointer) -> uv_buf_t {
        let base = bytes.baseAddress.map { UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: CChar.self) }
        return uv_buf_init(base, UInt32(clamping: bytes.count))
    }

    // MARK: Ends

    /// Closes once everything written has left, or after two seconds.
    func closeAfterWriting() {
        guard !isClosed else { return }
        forget()
        if isReading { uv_read_stop(stream) }
        let request = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
        let code = uv_shutdown(request, stream) { request, _ in
            guard let request else { return }
            let channel = request.pointee.handle.flatMap { TCPChannel.from($0.pointee.data) }
            request.deallocate()
            channel?.close()
        }
        guard code == 0 else {
            request.deallocate()
            return close()
        }
        loop.schedule(after: Self.lingerTime) { [weak self] in self?.close() }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        forget()
        uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) { handle in
            guard let handle, let data = handle.pointee.data else { return }
            UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_tcp_t.self).deallocate()
            Unmanaged<TCPChannel>.fromOpaque(data).release()
        }
    }

    private func forget() {
        onRead = { _ in }
        onEnd = { _ in }
        onWritten = { _ in }
        onConnect = { _ in }
        onIncoming = {}
    }
}
