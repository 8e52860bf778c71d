// A gateway over the fake node, on a port of its own and on a Unix socket, for the time of one test.

import Gateway
import Logging
import Primitives
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

struct TestGateway: Sendable {
    static let token = HomeToken(text: "olt_" + String(repeating: "t", count: 43))
    static let apiKey = "olk_" + String(repeating: "k", count: 43)

    let node: FakeNode
    let gateway: HTTPGateway
    let address: GatewayAddress

    var host: String { "127.0.0.1:\(address.port)" }

    static func with(
        bind: String = "127.0.0.1", node: FakeNode = FakeNode(), limits: GatewayLimits = GatewayLimits(),
        keys: MemoryKeys? = nil,
        _ body: @escaping @Sendable (TestGateway) async throws -> Void
    ) async throws {
        let socketPath = "/tmp/openledger-gateway-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        var configuration = GatewayConfiguration(host: bind, port: 0, socketPath: socketPath, homeToken: token)
        configuration.apiKeyDigests = [Digest(sha256: Array(apiKey.utf8))]
        configuration.limits = limits
        configuration.keyStore = keys
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let gateway = try HTTPGateway(
            configuration: configuration, service: node, registry: PrometheusRegistry(), logger: logger)
        let (addresses, ready) = AsyncStream<GatewayAddress>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { ready.finish() }
                try await gateway.run { ready.yield($0) }
            }
            var iterator = addresses.makeAsyncIterator()
            guard let address = await iterator.next() else {
                try await group.next()
                return
            }
            do {
                try await body(TestGateway(node: node, gateway: gateway, address: address))
            } catch {
                await gateway.drain()
                throw error
            }
            await gateway.drain()
            try await group.waitForAll()
        }
    }

    /// Sends one request on a connection of its own. `Host` is right unless given; `Content-Type` is JSON where there is a body.
    func ask(
        _ method: String, _ path: String, _ body: String? = nil, token: String? = nil, headers: [String: String] = [:],
        overSocket: Bool = false
    ) async throws -> RawAnswer {
        let connection =
            overSocket ? try RawConnection(path: address.socketPath ?? "") : try RawConnection(port: address.port)
        try connection.send(request(method, path, body, token: token, headers: headers))
        return try await connection.answer(hasBody: method != "HEAD")
    }

    func request(
        _ method: String, _ path: String, _ body: String? = nil, token: String? = nil, headers: [String: String] = [:]
    ) -> String {
        var fields = headers
        if fields["Host"] == nil { fields["Host"] = host }
        if let token { fields["Authorization"] = "Bearer \(token)" }
        if let body {
            fields["Content-Length"] = "\(body.utf8.count)"
            if fields["Content-Type"] == nil { fields["Content-Type"] = "application/json" }
        }
        let lines = fields.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\r\n" }.joined()
        return "\(method) \(path) HTTP/1.1\r\n\(lines)\r\n\(body ?? "")"
    }
}

extension RawAnswer {
    func json() throws -> JSONValue { try JSONValue.parse(body) }
    func code() throws -> String? { try json()["error"]?["code"]?.text }
    func param() throws -> String? { try json()["error"]?["param"]?.text }
}
