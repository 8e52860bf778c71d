import Gateway
import Metrics
import Primitives
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// The routes beside the two APIs: page, metrics, health, content.
@Suite(.serialized) struct DoorTests {
    @Test func pageFilesCarryTagAndPolicy() async throws {
        try await TestGateway.with { (peer) async throws in
            for path in ["/", "/app.js", "/style.css", "/icon.svg"] {
                let answer = try await peer.ask("GET", path)
                #expect(answer.status == 200, "\(path)")
                #expect(answer.header("content-security-policy")?.contains("script-src 'self'") == true)
                #expect(answer.header("x-content-type-options") == "nosniff")
                let tag = try #require(answer.header("etag"))
                #expect(try await peer.ask("GET", path, headers: ["If-None-Match": tag]).status == 304)
            }
            #expect(try await peer.ask("HEAD", "/").status == 200)
            #expect(try await peer.ask("GET", "/nothing.js").status == 404)
            #expect(try await peer.ask("GET", "/../../etc/passwd").status == 404)
        }
    }

    @Test func aWrongMethodIsToldTheRightOnes() async throws {
        let cases = [
            ("POST", "/", "GET, HEAD"), ("DELETE", "/healthz", "GET, HEAD"),
            ("PUT", "/api/v1/datanets", "GET, HEAD, POST"),
            ("GET", "/v1/chat/completions", "POST"), ("GET", "/api/v1/receipts/verify", "POST"),
            ("POST", "/api/v1/receipts/9c0f", "GET, HEAD"), ("OPTIONS", "/api/v1/session", "DELETE, GET, HEAD, POST"),
            ("POST", "/ipfs/bafy/a/b", "GET, HEAD"), ("GET", "/api/v1/accounts/me/transfer", "POST"),
        ]
        try await TestGateway.with { (peer) async throws in
            for (method, path, allowed) in cases {
                let answer = try await peer.ask(method, path)
                #expect(answer.status == 405, "\(method) \(path)")
                #expect(answer.header("allow") == allowed, "\(method) \(path)")
                #expect(try answer.json()["error"]?["code"]?.text == "method_not_allowed")
            }
            let unknown = try await peer.ask("POST", "/api/v1/nothing")
            #expect(unknown.status == 404)
            #expect(unknown.header("allow") == nil)
        }
    }

    @Test func everyFileOfThePageIsServed() async throws {
        let folder =
            "\(#filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined())/Sources/Adapters/Gateway/Web"
        let names = try Self.names(in: folder)
        #expect(names.contains("index.html"))
        try await TestGateway.with { (peer) async throws in
            for name in names { #expect(try await peer.ask("GET", "/\(name)").status == 200, "\(name)") }
        }
    }

    private static func names(in folder: String) throws -> [String] {
        let directory = try #require(opendir(folder))
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    @Test func healthAndReadiness() async throws {
        try await TestGateway.with { (peer) async throws in
            #expect(try await peer.ask("GET", "/healthz").json()["healthy"]?.flag == true)
            #expect(try await peer.ask("GET", "/readyz").json()["state"]?.text == "ready")
        }
    }

    @Test func metricsAreCountedByRoute() async throws {
        try await TestGateway.with { (peer) async throws in
            _ = try await peer.ask("GET", "/api/v1/datanets/food")
            let text = try await peer.ask("GET", "/metrics").text
            #expect(
                text.contains(#"openledger_http_requests_total{route="/api/v1/datanets/{name}",status="200"} 1.0"#),
                "\(text)")
            #expect(text.contains("# TYPE openledger_http_handler_seconds histogram"))
        }
    }

    @Test func registryIsBoundedAndEscapes() {
        let registry = PrometheusRegistry()
        Counter(label: "a b", dimensions: [("k", "x\"y\\z\n")], factory: registry).increment(by: 3)
        let rendered = registry.rendered()
        #expect(rendered.contains(#"a_b_total{k="x\"y\\z\n"} 3.0"#), "\(rendered)")
        for index in 0...PrometheusRegistry.seriesMax {
            Counter(label: "many", dimensions: [("i", "\(index)")], factory: registry).increment()
        }
        #expect(registry.rendered().contains("openledger_metrics_dropped_total 2"))
    }

    @Test func blocksAndArchives() async throws {
        try await TestGateway.with { (peer) async throws in
            let path = "/ipfs/\(FakeNode.blockCID.text)"
            let raw = try await peer.ask("GET", "\(path)?format=raw")
            #expect(raw.body == FakeNode.block)
            #expect(raw.header("content-type") == "application/vnd.ipld.raw")
            #expect(raw.header("cache-control")?.contains("immutable") == true)
            let tag = try #require(raw.header("etag"))
            #expect(try await peer.ask("GET", path, headers: ["If-None-Match": tag]).status == 304)
            #expect(try await peer.ask("HEAD", path).status == 200)
            let car = try await peer.ask("GET", path, headers: ["Accept": "application/vnd.ipld.car"])
            let header = CBOR.map(["roots": .array([.link(FakeNode.blockCID)]), "version": .unsigned(1)]).encoded()
            let section = FakeNode.blockCID.bytes + FakeNode.block
            #expect(car.body == [UInt8(header.count)] + header + [UInt8(section.count)] + section)
            #expect(try await peer.ask("GET", "/ipfs/nonsense").status == 400)
            #expect(try await peer.ask("GET", "\(path)?format=tar").status == 400)
            #expect(try await peer.ask("GET", "\(path)/a/b").status == 501)
            #expect(try await peer.ask("GET", "/ipfs/\(CID(.raw, hashing: [1]).text)").status == 404)
        }
    }
}
