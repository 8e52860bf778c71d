// The command: parses arguments, asks the node, prints. It holds no logic of its own.

import ArgumentParser
import Foundation

@main
struct Entry {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        exit(await finish(CommandLine.arguments.dropFirst().map(\.self)).rawValue)
    }

    /// Runs one command; every way to end passes here.
    static func finish(_ arguments: [String]) async -> ExitStatus {
        let json = arguments.contains("--json")
        do {
            var command = try Root.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return .done
        } catch let fault as CommandFault {
            Output.complain("openledger: \(fault.message)")
            for detail in fault.details { Output.complain("  \(detail)") }
            if json { Output(json: true).result(fault.json) { "" } }
            return fault.status
        } catch let ending as Ending {
            return ending.status
        } catch {
            let isClean = Root.exitCode(for: error).isSuccess
            let message = Root.fullMessage(for: error)
            if isClean { Output(json: false).line(message) } else { Output.complain(message) }
            return isClean ? .done : isUsage(error) ? .usage : .failed
        }
    }

    private static func isUsage(_ error: any Error) -> Bool {
        error is ValidationError || Root.exitCode(for: error) == .validationFailure
    }
}

/// An end that has already been explained on stdout.
struct Ending: Error {
    let status: ExitStatus
}

struct Root: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "openledger",
        abstract: "A peer of an economy in which data, models and answers are paid for.",
        discussion: """
            EXAMPLE
              openledger up
              openledger ask "Define brisket." --datanet food

            Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable or not synced, 4 refused.
            """,
        version: "0.1.0",
        groupedSubcommands: [
            CommandGroup(
                name: "Peer",
                subcommands: [
                    UpCommand.self, DevnetCommand.self, DemoCommand.self, IdCommand.self, StatusCommand.self,
                    PeersCommand.self, OpenCommand.self, DoctorCommand.self, ConfigCommand.self, KeyCommand.self,
                    APIKeyCommand.self,
                ]),
            CommandGroup(
                name: "Data and models",
                subcommands: [
                    DatanetCommand.self, ModelCommand.self, AdapterCommand.self, AskCommand.self,
                ]),
            CommandGroup(
                name: "Chain",
                subcommands: [
                    ReceiptCommand.self, BatchCommand.self, AccountCommand.self, CommitteeCommand.self,
                    LightCommand.self,
                ]),
            CommandGroup(name: "Measure", subcommands: [SimulateCommand.self, BenchCommand.self]),
        ]
    )
}
