// A gateway that is told to end ends, whenever it is told.

import Gateway
import Logging
import Primitives
import Testing

@Suite struct LifetimeTests {
    private func gateway() throws -> HTTPGateway {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return try HTTPGateway(
            configuration: GatewayConfiguration(
                host: "127.0.0.1", port: 0, socketPath: nil, homeToken: TestGateway.token),
            service: FakeNode(), registry: PrometheusRegistry(), logger: logger)
    }

    @Test(.timeLimit(.minutes(1))) func aDrainBeforeTheRunIsKept() async throws {
        let gateway = try gateway()
        await gateway.drain()
        try await gateway.run { _ in Issue.record("it serves") }
    }

    @Test(.timeLimit(.minutes(1)), arguments: [0, 1, 5, 20]) func aDrainWhileItBindsIsKept(milliseconds: Int)
        async throws
    {
        let gateway = try gateway()
        async let running: Void = gateway.run { _ in }
        try await Task.sleep(for: .milliseconds(milliseconds))
        await gateway.drain()
        try await running
    }
}
