// Multiaddrs to the sockets API and back.

internal import CUV
internal import Primitives

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

struct SocketAddress {
    private var storage: sockaddr_storage

    /// Reads the leading /ip4 or /ip6 and /tcp.
    /// - Returns: nil for any other address.
    init?(_ address: Multiaddr) {
        let parts = address.components
        guard parts.count >= 2, case .tcp(let port) = parts[1] else { return nil }
        switch parts[0] {
        case .ip4(let bytes): self.init(ip: bytes, port: port)
        case .ip6(let bytes): self.init(ip: bytes, port: port)
        default: return nil
        }
    }

    /// - Parameter ip: 4 or 16 bytes.
    init?(ip bytes: [UInt8], port: UInt16) {
        storage = sockaddr_storage()
        switch bytes.count {
        case 4:
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: bytes) }
            withUnsafeMutableBytes(of: &storage) { all in
                withUnsafeBytes(of: &address) { all.copyMemory(from: $0) }
            }
        case 16:
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: bytes) }
            withUnsafeMutableBytes(of: &storage) { all in
                withUnsafeBytes(of: &address) { all.copyMemory(from: $0) }
            }
        default:
            return nil
        }
    }

    init?(_ pointer: UnsafePointer<sockaddr>) {
        storage = sockaddr_storage()
        let length: Int
        switch Int32(pointer.pointee.sa_family) {
        case AF_INET: length = MemoryLayout<sockaddr_in>.size
        case AF_INET6: length = MemoryLayout<sockaddr_in6>.size
        default: return nil
        }
        withUnsafeMutableBytes(of: &storage) {
            $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: length))
        }
    }

    static func local(of handle: UnsafePointer<uv_tcp_t>) -> SocketAddress? {
        named { uv_tcp_getsockname(handle, $0, $1) }
    }

    static func remote(of handle: UnsafePointer<uv_tcp_t>) -> SocketAddress? {
        named { uv_tcp_getpeername(handle, $0, $1) }
    }

    private static func named(
        _ ask: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32
    ) -> SocketAddress? {
        var storage = sockaddr_storage()
        var length = Int32(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { all in
            all.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                ask(pointer, &length) == 0 ? SocketAddress(UnsafePointer(pointer)) : nil
            }
        }
    }

    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
        withUnsafePointer(to: storage) { all in
            all.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
        }
    }

    private var isIP6: Bool { Int32(storage.ss_family) == AF_INET6 }

    var ip: [UInt8] {
        withUnsafeBytes(of: storage) { bytes in
            // sin_addr lies behind family and port; sin6_addr behind the flow label too.
            isIP6 ? Array(bytes[8..<24]) : Array(bytes[4..<8])
        }
    }

    var port: UInt16 {
        withUnsafeBytes(of: storage) { UInt16($0[2]) << 8 | UInt16($0[3]) }
    }

    var isUnspecified: Bool { ip.allSatisfy { $0 == 0 } }
    var isIP6Address: Bool { isIP6 }

    var multiaddr: Multiaddr {
        Multiaddr([isIP6 ? .ip6(ip) : .ip4(ip), .tcp(port)])
    }

    /// The addresses under which a socket bound to this one is reached: itself, or for the unspecified address those of
    /// every interface of its family, container bridges and link-local addresses left out.
    var reachable: [Multiaddr] {
        guard isUnspecified else { return [multiaddr] }
        var list: UnsafeMutablePointer<uv_interface_address_t>?
        var count: Int32 = 0
        guard uv_interface_addresses(&list, &count) == 0, let list else { return [multiaddr] }
        defer { uv_free_interface_addresses(list, count) }
        var found: [Multiaddr] = []
        for index in 0..<Int(count) {
            let name = String(cString: list[index].name)
            if ["docker", "br-", "veth", "virbr"].contains(where: { name.hasPrefix($0) }) { continue }
            let address = withUnsafePointer(to: &list[index].address) { union in
                union.withMemoryRebound(to: sockaddr.self, capacity: 1) { SocketAddress($0) }
            }
            guard let address, address.isIP6 == isIP6, !address.ip.starts(with: [0xfe, 0x80]),
                let withPort = SocketAddress(ip: address.ip, port: port)
            else { continue }
            found.append(withPort.multiaddr)
        }
        return found.isEmpty ? [multiaddr] : found
    }
}
