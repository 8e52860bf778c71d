// An HTTP client that sends exactly the bytes it is given, so that the tests can send what no library would: two Host
// fields, a half request, a connection closed in the middle of an answer.

import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Runs what blocks on a thread that is no thread of the tasks: they would wait for each other.
func offPool<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try work() }) }
    }
}

struct RawAnswer: Sendable {
    let status: Int
    let headers: [(name: String, value: String)]
    let trailers: [(name: String, value: String)]
    let body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
    func header(_ name: String) -> String? { headers.first { $0.name == name.lowercased() }?.value }
    func trailer(_ name: String) -> String? { trailers.first { $0.name == name.lowercased() }?.value }

    /// The `data:` payloads of a server-sent event stream.
    var events: [String] {
        text.split(separator: "\n").filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
    }
    var lines: [String] { text.split(separator: "\n").map(String.init) }
}

struct RawFault: Error { let reason: String }

#if canImport(Glibc)
private let streamKind = Int32(SOCK_STREAM.rawValue)
private let sendFlags = Int32(MSG_NOSIGNAL)
#else
private let streamKind = SOCK_STREAM
private let sendFlags: Int32 = 0
#endif

/// Outside the class, whose own `send` would hide the system's.
private func transmit(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    send(descriptor, bytes.baseAddress, bytes.count, sendFlags)
}

/// One connection; closed when it goes out of use.
/// Unchecked: a test awaits each call before it makes the next, so that no two run at a time.
final class RawConnection: @unchecked Sendable {
    private let descriptor: Int32
    private var buffer: [UInt8] = []

    init(port: Int) throws {
        descriptor = socket(AF_INET, streamKind, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw RawFault(reason: "connect: \(errno)") }
        try limitWaiting()
    }

    init(path: String) throws {
        descriptor = socket(AF_UNIX, streamKind, 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8) + [0]) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw RawFault(reason: "connect \(path): \(errno)") }
        try limitWaiting()
    }

    deinit { shut() }

    private var isShut = false
    func shut() {
        guard !isShut else { return }
        isShut = true
        close(descriptor)
    }

    private func limitWaiting() throws {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { transmit(descriptor, $0) }
            guard count > 0 else { throw RawFault(reason: "send: \(errno)") }
            rest = rest.dropFirst(count)
        }
    }

    private func fill() throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16_384)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else { throw RawFault(reason: "recv: \(errno)") }
        buffer += chunk.prefix(count)
        return count > 0
    }

    /// A line without its CRLF.
    func line() async throws -> String { try await offPool { try self.readLine() } }

    private func readLine() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: 0x0a) {
                let line = String(decoding: buffer[..<end].filter { $0 != 0x0d }, as: UTF8.self)
                buffer.removeSubrange(...end)
                return line
            }
            guard try fill() else { throw RawFault(reason: "the connection ended inside a line") }
        }
    }

    private func take(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            guard try fill() else { throw RawFault(reason: "the connection ended in a body") }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer.prefix(count))
    }

    private func fields() throws -> [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        while true {
            let line = try readLine()
            guard let colon = line.firstIndex(of: ":") else { return fields }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            fields.append((line[..<colon].lowercased(), String(value)))
        }
    }

    /// - Parameter hasBody: false for the answer to HEAD.
    func answer(hasBody: Bool = true) async throws -> RawAnswer {
        try await offPool { try self.readAnswer(hasBody: hasBody) }
    }

    private func readAnswer(hasBody: Bool) throws -> RawAnswer {
        let status = Int(try readLine().split(separator: " ").dropFirst().first ?? "0") ?? 0
        let headers = try fields()
        func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        var body: [UInt8] = []
        var trailers: [(name: String, value: String)] = []
        if hasBody, status != 304, header("transfer-encoding") == "chunked" {
            while let size = Int(try readLine(), radix: 16), size > 0 {
                body += try take(size)
                _ = try readLine()
            }
            trailers = try fields()
        } else if hasBody, status != 304, let length = header("content-length").flatMap({ Int($0) }) {
            body = try take(length)
        }
        return RawAnswer(status: status, headers: headers, trailers: trailers, body: body)
    }
}
