// `/api/v1/keys`: the owner's keys for others. A key's text is in the answer that makes it and nowhere else.

import HTTPTypes
import Hummingbird
import Primitives

struct KeyRoutes: Sendable {
    private static let perMinuteMax = 1_000_000_000

    let desk: KeyDesk
    let limits: GatewayLimits

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("keys") { _, _ in
            Response.json(.object(["keys": .array(desk.records.map(\.json))]))
        }
        group.get("keys/:name") { _, context in Response.json(try desk.record(context.name("name")).json) }
        group.post("keys") { request, _ in
            var request = request
            let fields = try await request.json(limits)
            let name = try fields.name("name", bytesMax: APIKeyRecord.nameBytesMax)
            let (record, secret) = try await desk.make(name: name, limits: Self.limits(fields))
            let members = [JSONMember("key", .string(secret.text))] + (record.json.memberList ?? [])
            return Response.json(.members(members), status: .created)
        }
        group.delete("keys/:name") { _, context in
            let record = try await desk.revoke(context.name("name"))
            return Response.json(
                .object(["id": .string(record.id), "name": .string(record.name), "revoked": .bool(true)]))
        }
    }

    private static func limits(_ fields: RequestFields) throws(NodeFault) -> APIKeyLimits {
        let period = try fields.text("spend_period", bytesMax: 16) ?? SpendPeriod.total.rawValue
        guard let period = SpendPeriod(rawValue: period) else {
            throw fields.fault("spend_period", "must be total, day or month", code: "unsupported_value")
        }
        return APIKeyLimits(
            requestsPerMinute: try fields.integer("requests_per_minute", in: 1...perMinuteMax),
            tokensPerMinute: try fields.integer("tokens_per_minute", in: 1...perMinuteMax),
            spend: try fields.amount("spend_limit"), period: period)
    }
}

extension APIKeyRecord {
    fileprivate var json: JSONValue {
        .object([
            "id": .string(id), "name": .string(name), "created_ms": .integer(created.milliseconds),
            "requests_per_minute": limits.requestsPerMinute.map(JSONValue.integer) ?? .null,
            "tokens_per_minute": limits.tokensPerMinute.map(JSONValue.integer) ?? .null,
            "spend_limit": limits.spend.map { .string($0.text) } ?? .null,
            "spend_period": .string(limits.period.rawValue), "spent": .string(spent.text),
            "requests": .integer(requests), "tokens": .integer(tokens),
        ])
    }
}
