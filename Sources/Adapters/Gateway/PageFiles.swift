// The web page's files, compiled into the program (SwiftPM's `.embedInCode`), so that a peer is one file and the page can
// never be of another version than its API.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

struct PageFile: Sendable {
    let name: String
    let type: String
    let bytes: [UInt8]
}

enum PageFiles {
    static let contentSecurityPolicy = """
        default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'
        """
    static let fileBytesMax = 1 << 20

    private static let html = "text/html; charset=utf-8"
    private static let script = "text/javascript; charset=utf-8"

    /// Every file of `Web/`, by name.
    static let all: [PageFile] = [
        PageFile(name: "index.html", type: html, bytes: PackageResources.index_html),
        PageFile(name: "style.css", type: "text/css; charset=utf-8", bytes: PackageResources.style_css),
        PageFile(name: "icon.svg", type: "image/svg+xml", bytes: PackageResources.icon_svg),
        PageFile(name: "app.js", type: script, bytes: PackageResources.app_js),
        PageFile(name: "api.js", type: script, bytes: PackageResources.api_js),
        PageFile(name: "dom.js", type: script, bytes: PackageResources.dom_js),
        PageFile(name: "home.js", type: script, bytes: PackageResources.home_js),
        PageFile(name: "chat.js", type: script, bytes: PackageResources.chat_js),
        PageFile(name: "factory.js", type: script, bytes: PackageResources.factory_js),
        PageFile(name: "run.js", type: script, bytes: PackageResources.run_js),
        PageFile(name: "chart.js", type: script, bytes: PackageResources.chart_js),
        PageFile(name: "earnings.js", type: script, bytes: PackageResources.earnings_js),
        PageFile(name: "adapters.js", type: script, bytes: PackageResources.adapters_js),
        PageFile(name: "receipts.js", type: script, bytes: PackageResources.receipts_js),
        PageFile(name: "network.js", type: script, bytes: PackageResources.network_js),
        PageFile(name: "datanets.js", type: script, bytes: PackageResources.datanets_js),
        PageFile(name: "chain.js", type: script, bytes: PackageResources.chain_js),
    ]

    /// - Parameter folder: where the files are read from instead; nil for those compiled in.
    static func add(to router: Router<GatewayContext>, folder: String?) {
        for file in all {
            let tag = "\"\(Digest(sha256: file.bytes).hex.prefix(32))\""
            let serve: @Sendable (Request, GatewayContext) async throws -> Response = { request, _ in
                if let folder { return response(file, bytes: try read("\(folder)/\(file.name)"), tag: nil) }
                if request.headers[.ifNoneMatch] == tag {
                    return Response(status: .notModified, headers: headers(file, tag: tag))
                }
                return response(file, bytes: file.bytes, tag: tag)
            }
            router.get(RouterPath("/\(file.name)"), use: serve)
            if file.name == "index.html" { router.get("/", use: serve) }
        }
    }

    private static func headers(_ file: PageFile, tag: String?) -> HTTPFields {
        var headers: HTTPFields = [
            .contentType: file.type, .cacheControl: "no-cache", .contentSecurityPolicy: contentSecurityPolicy,
        ]
        headers[.eTag] = tag
        return headers
    }

    private static func response(_ file: PageFile, bytes: [UInt8], tag: String?) -> Response {
        Response(
            status: .ok, headers: headers(file, tag: tag), body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    private static func read(_ path: String) throws(NodeFault) -> [UInt8] {
        guard let file = fopen(path, "rb") else {
            throw NodeFault(.missing, "cannot read \(path): \(String(cString: strerror(errno)))", code: "page_file")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: fileBytesMax)
        let count = fread(&bytes, 1, bytes.count, file)
        return Array(bytes.prefix(count))
    }
}
