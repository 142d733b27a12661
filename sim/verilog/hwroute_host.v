// The host of a machine behind AXI4-Lite; for simulation only. It resets the machine and then follows
// FOLDER/host.txt, a step a line, numbers in hexadecimal:
//
//     W address value     write a register
//     R address 0         read one, and add "address value" to FOLDER/registers.txt
//     I cycles 0          wait for an interrupt, at most so many cycles
//
// At the end it stops the simulation. FOLDER is +folder. Registers that do not answer stop it too.
module hwroute_host (
    input wire clk,
    output reg rst,
    output reg memory_rst,
    input wire irq,
    output reg [11:0] aw_payload,
    output reg aw_valid,
    input wire aw_ready,
    output reg [35:0] w_payload,
    output reg w_valid,
    input wire w_ready,
    input wire b_valid,
    output wire b_ready,
    output reg [11:0] ar_payload,
    output reg ar_valid,
    input wire ar_ready,
    input wire [33:0] r_payload,
    input wire r_valid,
    output wire r_ready
);
    localparam PATIENCE = 1000;
    localparam RESET = 64;

    string folder, step;
    integer script, answers;
    reg [63:0] place, value, passed;

    assign b_ready = 1'b1;
    assign r_ready = 1'b1;

    // Outputs change between two edges, so that each edge sees them whole.
    task automatic tick(inout integer left);
        @(posedge clk);
        left--;
        if (left == 0) $fatal(1, "the registers do not answer");
    endtask

    task automatic put(input [11:0] address, input [31:0] data);
        integer left = PATIENCE;
        @(negedge clk);
        aw_payload = address; w_payload = {4'hf, data}; aw_valid = 1'b1; w_valid = 1'b1;
        while (aw_valid || w_valid) begin
            reg address_taken, data_taken;
            tick(left);
            address_taken = aw_ready; data_taken = w_ready;
            @(negedge clk);
            if (address_taken) aw_valid = 1'b0;
            if (data_taken) w_valid = 1'b0;
        end
        do tick(left); while (!b_valid);
    endtask

    task automatic get(input [11:0] address, output [31:0] data);
        integer left = PATIENCE;
        @(negedge clk);
        ar_payload = address; ar_valid = 1'b1;
        do tick(left); while (!ar_ready);
        @(negedge clk);
        ar_valid = 1'b0;
        do tick(left); while (!r_valid);
        data = r_payload[31:0];
    endtask

    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        script = $fopen({folder, "/host.txt"}, "r");
        if (script == 0) $fatal(1, "cannot open the steps of the host");
        answers = $fopen({folder, "/registers.txt"}, "w");
        aw_valid = 1'b0; w_valid = 1'b0; ar_valid = 1'b0;
        // The memories' reset lies within the machine's.
        rst = 1'b1; memory_rst = 1'b1;
        repeat (RESET) @(negedge clk);
        memory_rst = 1'b0;
        repeat (RESET) @(negedge clk);
        rst = 1'b0;
        repeat (RESET) @(negedge clk);
        while ($fscanf(script, "%s %h %h\n", step, place, value) == 3) begin
            case (step)
                "W": put(place[11:0], value[31:0]);
                "R": begin
                    get(place[11:0], value[31:0]);
                    $fdisplay(answers, "%0h %0h", place, value[31:0]);
                end
                "I": begin
                    passed = 0;
                    while (!irq && passed != place) begin
                        @(posedge clk);
                        passed++;
                    end
                end
                default: $fatal(1, "no step of a host: %s", step);
            endcase
        end
        $fclose(answers);
        $finish;
    end
endmodule
