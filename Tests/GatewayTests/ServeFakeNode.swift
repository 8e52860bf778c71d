// Not a test but a server for those of other languages (Tests/Browser, Tests/Clients): with OPENLEDGER_FAKE_PORT set, it
// serves the fake node there until the file OPENLEDGER_FAKE_STOP appears, at most half an hour. It prints the page's URL.

import Gateway
import Logging
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

@Suite struct ServeFakeNode {
    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    @Test(.enabled(if: getenv("OPENLEDGER_FAKE_PORT") != nil), .timeLimit(.minutes(30)))
    func serve() async throws {
        let port = Self.environment("OPENLEDGER_FAKE_PORT").flatMap { Int($0) } ?? 0
        var configuration = GatewayConfiguration(
            host: "127.0.0.1", port: port, socketPath: nil, homeToken: TestGateway.token)
        configuration.pageFolder = Self.environment("OPENLEDGER_FAKE_PAGE")
        let gateway = try HTTPGateway(
            configuration: configuration, service: FakeNode(tokenNanoseconds: 60_000_000),
            registry: PrometheusRegistry(),
            logger: Logger(label: "fake"))
        let stop = Self.environment("OPENLEDGER_FAKE_STOP") ?? "/nonexistent"
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await gateway.run {
                    print("ready \($0.pageURL)"); fflush(nil)
                }
            }
            group.addTask {
                while access(stop, F_OK) != 0 { try await Task.sleep(for: .milliseconds(200)) }
                await gateway.drain()
            }
            try await group.next()
            group.cancelAll()
        }
    }
}
