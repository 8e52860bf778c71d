// Answers that go on: one value a line, or server-sent events.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives
import ServiceLifecycle

extension NodeRoutes {
    func streamed(_ call: NodeStreamCall, _ request: Request) async throws -> Response {
        var request = request
        if request.method == .get { _ = try await request.bytes(upTo: limits.strayBytesMax) }
        let values = try await service.stream(call)
        return .lines(request: request) { pieces in
            for try await value in values { try await pieces.line(value) }
            return nil
        }
    }

    /// The same values as server-sent events. A line of the run's file has its number for an id, and `Last-Event-ID` goes on
    /// behind it; a state that the run is in now, which is no such line, has none.
    func told(_ call: NodeStreamCall, _ request: Request) async throws -> Response {
        let ticket = try eventAdmission.ticket()
        var request = request
        _ = try await request.bytes(upTo: limits.strayBytesMax)
        let heard = request.lastEventID
        let values = try await service.stream(call)
        let response = Response.pieces(type: "text/event-stream", request: request) { pieces, fault in
            try await pieces.event("error", fault.json(faultsShownMax: 100))
        } write: { pieces in
            var number = 0
            for try await value in PlainSequence(values).cancelOnGracefulShutdown() {
                let name = value["event"]?.text ?? "message"
                guard value["state"] == nil else {
                    try await pieces.event(name, value)
                    continue
                }
                number += 1
                if number > heard { try await pieces.event(name, value, id: number) }
            }
            return nil
        }
        return response.holding(ticket)
    }

    func events(_ request: Request) async throws -> Response {
        let ticket = try eventAdmission.ticket()
        var request = request
        _ = try await request.bytes(upTo: limits.strayBytesMax)
        let events = try await service.events()
        let response = Response.pieces(type: "text/event-stream", request: request) { pieces, fault in
            try await pieces.event("error", fault.json(faultsShownMax: 0))
        } write: { pieces in
            // A drain does not wait for someone who only listens.
            for try await event in PlainSequence(events).cancelOnGracefulShutdown() {
                try await pieces.event(event.kind.rawValue, event.body)
            }
            return nil
        }
        return response.holding(ticket)
    }
}

/// Gives the existential a concrete type, which `cancelOnGracefulShutdown` wants.
private struct PlainSequence<Element: Sendable>: AsyncSequence, Sendable {
    private let base: any AsyncSequence<Element, any Error> & Sendable

    init(_ base: any AsyncSequence<Element, any Error> & Sendable) { self.base = base }

    func makeAsyncIterator() -> Iterator { Iterator(base: base.makeAsyncIterator()) }

    struct Iterator: AsyncIteratorProtocol {
        var base: any AsyncIteratorProtocol<Element, any Error>
        mutating func next() async throws -> Element? { try await base.next(isolation: nil) }
    }
}

extension Request {
    var wantsEvents: Bool {
        headers[.accept]?.split(separator: ",").contains {
            $0.split(separator: ";").first?.trimmingPrefix(while: { $0 == " " }).lowercased() == "text/event-stream"
        } ?? false
    }

    /// 0 where there is none, or one that no stream of ours gave.
    fileprivate var lastEventID: Int {
        HTTPField.Name("Last-Event-ID").flatMap { headers[$0] }.flatMap { Int($0) } ?? 0
    }
}
